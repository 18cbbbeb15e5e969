package kb

import (
	"strings"
	"unicode"

	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/lang/en"
	"github.com/blevesearch/bleve/v2/analysis/token/lowercase"
	tokens "github.com/blevesearch/bleve/v2/analysis/tokenizer/unicode"
)

// word is one word of a text: as it is written in lower case, and its stem.
type word struct {
	text  string
	stem  string
	start int // byte offset in the tidied text
}

// The analysis of pages and questions is one and the same: Unicode word
// boundaries, lower case, no possessive, English snowball stems. The filters
// keep no state, so all goroutines share them.
var (
	tokenizer = tokens.NewUnicodeTokenizer()
	lower     = lowercase.NewLowerCaseFilter()
	unowned   = en.NewPossessiveFilter()
	stemmer   = en.NewEnglishStemmerFilter()
)

// tidier writes the spellings that the tokenizer would take apart as one word.
var tidier = strings.NewReplacer(
	"’", "'", "‘", "'",
	"e-mail", "email", "E-mail", "Email", "E-Mail", "Email",
	"t-shirt", "tshirt", "T-shirt", "Tshirt", "T-Shirt", "Tshirt",
	"pre-paid", "prepaid", "re-schedule", "reschedule",
)

// tidy is the text that words reads.
func tidy(text string) string { return tidier.Replace(text) }

// words splits a tidied text.
func words(text string) []word {
	stream := unowned.Filter(lower.Filter(tokenizer.Tokenize([]byte(text))))
	out := make([]word, 0, len(stream))
	for _, t := range stream {
		out = append(out, word{text: string(t.Term), start: t.Start})
	}
	stemmed := make(analysis.TokenStream, len(stream))
	for i, t := range stream {
		c := *t
		stemmed[i] = &c
	}
	for i, t := range stemmer.Filter(stemmed) {
		out[i].stem = string(t.Term)
		if root, ok := irregular[out[i].text]; ok {
			out[i].stem = root
		}
	}
	return out
}

// isNumber reports whether the word holds a digit.
func (w word) isNumber() bool { return strings.IndexFunc(w.text, unicode.IsDigit) >= 0 }

// irregular maps the forms that a stemmer cannot, to the stem of their root.
var irregular = map[string]string{
	"sent": "send", "paid": "pay", "bought": "buy", "broke": "broken", "broken": "broken",
	"kept": "keep", "lost": "lose", "came": "come", "went": "go", "gone": "go",
	"got": "get", "gave": "give", "given": "give", "took": "take", "taken": "take",
	"wore": "wear", "worn": "wear", "shut": "close", "chose": "choos", "chosen": "choos",
	"shrunk": "shrink", "shrank": "shrink", "tore": "tear", "torn": "tear",
	"children": "child", "feet": "foot", "forgot": "forget", "forgotten": "forget",
	"spoke": "speak", "found": "find", "held": "hold", "made": "make", "said": "say",
}

// concept is one idea and the ways people put it. A word of several parts
// matches them in order with at most two words between, so that "send it back"
// and "send something back" are both "send back".
type concept struct {
	name string
	ways []string
}

// concepts is the small table of what means the same on a help page of a shop
// or a service. It brings questions and pages together and is never quoted.
var concepts = []concept{
	{"return", []string{"return", "send back", "bring back", "give back", "take back", "post back", "returnable"}},
	{"refund", []string{"refund", "money back", "reimburse", "reimbursement", "cash back", "refundable"}},
	{"exchange", []string{"exchange", "swap", "trade in", "different size", "another size", "other size", "bigger size", "smaller size"}},
	{"ship", []string{"ship", "shipping", "delivery", "deliver", "post", "postage", "courier", "dispatch", "mail out", "shipment", "send to", "send out"}},
	{"abroad", []string{"abroad", "international", "internationally", "overseas", "worldwide", "outside uk", "outside united kingdom", "other countries", "another country", "foreign"}},
	{"parcel", []string{"parcel", "package"}},
	{"track", []string{"track", "where parcel", "where package", "tracking"}},
	{"customs", []string{"customs", "duty", "duties", "import tax", "import charge"}},
	{"cost", []string{"cost", "price", "charge", "fee", "expensive", "cheap", "how much"}},
	{"free", []string{"free", "no charge", "without charge"}},
	{"cancel", []string{"cancel", "cancellation", "unsubscribe", "quit", "call off", "stop subscription", "stop box", "end subscription"}},
	{"pause", []string{"pause", "skip", "suspend", "on hold", "take a break", "put hold"}},
	{"subscription", []string{"subscription", "subscribe", "subscriber"}},
	{"booking", []string{"booking", "appointment", "reservation", "reserve", "slot"}},
	{"reschedule", []string{"reschedule", "rearrange", "move appointment", "change appointment", "move booking", "change booking", "rebook", "another time", "different time", "move slot"}},
	{"warranty", []string{"warranty", "guarantee", "warranties"}},
	{"faulty", []string{"faulty", "defect", "defective", "broken", "damaged", "damage", "stopped working", "fell apart", "smashed", "cracked", "fault", "not working", "doesn't work"}},
	{"size", []string{"size", "sizing", "measurement", "measure"}},
	{"gift card", []string{"gift card", "gift voucher", "gift certificate", "voucher"}},
	{"pay", []string{"pay", "payment", "checkout"}},
	{"sign in", []string{"sign in", "log in", "login", "signin", "sign me in", "logon", "log on"}},
	{"contact", []string{"contact", "get in touch", "reach you", "reach us", "talk to", "speak to", "email you", "write to us", "get hold of"}},
	{"phone", []string{"phone", "call", "ring you", "ring us", "telephone"}},
	{"person", []string{"person", "human", "real people", "agent", "someone real", "member of staff", "somebody real"}},
	{"hours", []string{"opening hours", "opening times", "business hours", "you open", "shop open", "open from", "open on", "are closed", "closed on", "you close", "shop close", "we close"}},
	{"repair", []string{"repair", "fix", "mend", "patch"}},
	{"privacy", []string{"privacy", "personal data", "gdpr", "personal information", "my data", "my information", "my details"}},
	{"delete", []string{"delete", "erase", "remove", "get rid of"}},
	{"wash", []string{"wash", "clean", "launder", "machine washable", "washing machine"}},
	{"buy", []string{"buy", "purchase", "bought"}},
	{"discount", []string{"discount", "promo", "promotion", "coupon", "promo code", "discount code", "money off"}},
	{"assistant", []string{"assistant", "bot", "chatbot", "robot", "ai", "virtual assistant"}},
	{"child", []string{"child", "kid", "children"}},
	{"late", []string{"late", "delayed", "not arrived", "hasn't arrived", "hasn't come", "not turned up", "overdue", "never arrived", "never came", "didn't arrive"}},
	{"lost", []string{"lost", "gone missing"}},
	{"receipt", []string{"receipt", "proof of purchase", "invoice"}},
	{"location", []string{"where are you", "where is shop", "where we are", "find you", "find us", "shop address", "postal address", "shop is at", "located", "location", "directions"}},
	{"change", []string{"change", "alter", "amend", "edit", "update", "modify"}},
	{"credit card", []string{"credit card", "debit card", "bank card", "visa", "mastercard", "amex", "american express"}},
	{"weekend", []string{"weekend"}},
	{"wrong", []string{"wrong", "incorrect", "mistake"}},
	{"expire", []string{"expire", "expiry", "run out", "valid"}},
	{"worn", []string{"worn", "used", "wear"}},
	{"collect", []string{"collect", "collection", "pick up"}},
	{"resume", []string{"resume", "restart", "start again", "reactivate"}},
	{"sell", []string{"sell", "stock"}},
	{"jacket", []string{"jacket", "coat"}},
	{"jumper", []string{"jumper", "sweater", "pullover", "knitwear"}},
	{"trousers", []string{"trousers", "pants"}},
	{"waterproof", []string{"waterproof", "waterproofing", "reproof", "water resistant"}},
}

// way is a compiled way of putting a concept.
type way struct {
	stems []string
	token string // what it adds to a text: the concept's name behind a tilde
}

// ways lists the compiled ways by their first stem, longest first.
var ways = compileWays()

func compileWays() map[string][]way {
	by := map[string][]way{}
	for _, c := range concepts {
		token := "~" + strings.ReplaceAll(c.name, " ", "_")
		for _, w := range c.ways {
			var stems []string
			for _, part := range words(tidy(w)) {
				stems = append(stems, part.stem)
			}
			by[stems[0]] = append(by[stems[0]], way{stems: stems, token: token})
		}
	}
	for _, list := range by {
		// A stable order, longest first, so that "gift card" wins over "gift".
		for i := 1; i < len(list); i++ {
			for j := i; j > 0 && len(list[j].stems) > len(list[j-1].stems); j-- {
				list[j], list[j-1] = list[j-1], list[j]
			}
		}
	}
	return by
}

// maxGap is how many words may stand between two parts of a way.
const maxGap = 2

// match returns the positions of the way's parts when it begins at i.
func (w way) match(text []word, i int) ([]int, bool) {
	at := make([]int, 0, len(w.stems))
	at = append(at, i)
	for _, stem := range w.stems[1:] {
		found := false
		for j := i + 1; j < len(text) && j <= i+1+maxGap; j++ {
			if text[j].stem == stem {
				at, i, found = append(at, j), j, true
				break
			}
		}
		if !found {
			return nil, false
		}
	}
	return at, true
}

// meaning is what a word of a text puts besides itself.
type meaning struct {
	concepts []string
	phrase   bool // it begins a way of several words, and has that meaning alone
	absorbed bool // it is a later part of such a way, and says nothing of its own
}

// meanings reads a text for concepts. A way of several words wins over its
// parts, so that a "gift card" is no card and to "send back" is not to send.
// Pages and questions are read alike.
func meanings(ws []word) []meaning {
	out := make([]meaning, len(ws))
	for i, w := range ws {
		if out[i].absorbed {
			continue
		}
		for _, way := range ways[w.stem] {
			at, ok := way.match(ws, i)
			if !ok {
				continue
			}
			if len(way.stems) == 1 {
				out[i].concepts = append(out[i].concepts, way.token)
				continue
			}
			out[i].concepts, out[i].phrase = []string{way.token}, true
			for _, j := range at[1:] {
				// A word with a meaning of its own, as the object often has,
				// is said besides.
				out[j].absorbed = !ownConcept(ws[j].stem, way.token)
			}
			break
		}
	}
	return out
}

// ownConcept reports whether a stem alone puts a concept other than token.
func ownConcept(stem, token string) bool {
	for _, w := range ways[stem] {
		if len(w.stems) == 1 && w.token != token {
			return true
		}
	}
	return false
}

// terms lists the stems of a page's text with the concepts they put.
func terms(text string) []string {
	ws := words(tidy(text))
	out := make([]string, 0, len(ws)+len(ws)/4)
	for i, m := range meanings(ws) {
		if !m.absorbed {
			out = append(out, ws[i].stem)
			out = append(out, m.concepts...)
		}
	}
	return out
}
