package plan

import "strings"

// Every word the planner knows by itself. Nothing here belongs to one trade:
// what a site's own words mean comes from its catalog.

// verbClasses are verbs that ask for the same thing, by lemma. The first of a
// line names the class.
var verbClasses = []string{
	"show see list view display check find lookup tell give know retrieve review read fetch look get print pull inform bring remind",
	"track trace locate follow",
	"cancel stop end terminate quit abort revoke void unsubscribe discontinue scrap",
	"delete remove erase close",
	"move reschedule shift postpone rebook rearrange delay push",
	"change update edit modify correct amend alter switch swap replace fix adjust set",
	"pause hold suspend freeze skip halt snooze",
	"resume restart reactivate unpause continue restore renew",
	"create add book make place buy schedule arrange acquire subscribe reserve join",
	"return exchange",
	"refund reimburse",
	"pay settle",
	"send mail email forward deliver ship dispatch",
	"confirm verify",
	"download export",
	"upgrade downgrade",
	"redeem use apply spend",
	"report complain notify",
	"contact speak talk chat reach",
	"lose break",
	"reset recover",
	"receive expect wait",
}

// loneVerbs are verbs with no kin, each a class of its own.
const loneVerbs = `open say translate play turn put go take work start ask leave write submit file share transfer convert
	explain waive split merge rate block unblock call drive eat cook sell invite drop log sign enter choose pick select`

// alike says how well one verb class answers for another, 1 being the same.
var alike = map[[2]string]float64{
	{"show", "track"}:    0.9,
	{"track", "show"}:    0.9,
	{"change", "move"}:   0.8,
	{"move", "change"}:   0.7,
	{"cancel", "pause"}:  0.3,
	{"delete", "cancel"}: 0.75,
	{"cancel", "delete"}: 0.75,
	{"receive", "show"}:  0.7,
	{"receive", "track"}: 0.9,
}

// nounSets are nouns that name the same kind of record. A catalog that uses two
// words of one line for different things keeps them apart.
var nounSets = []string{
	"order purchase parcel package delivery shipment",
	"booking appointment reservation fitting consultation appt",
	"subscription membership plan box subscribtion",
	"address",
	"profile account details",
	"invoice bill receipt",
	"flight trip journey",
	"baggage bag luggage suitcase",
	"hour opening",
}

// attributes follow a noun and ask for a part of it: "order status".
var attributes = set(`status number no nr id ids reference ref code details detail info information history
	progress eta list summary record records overview update updates data current latest recent last next upcoming past news`)

// progress words ask how a record is getting on: any read of it answers.
var progress = set(`arrive arrives arrived arriving arrival ship ships shipped shipping dispatch dispatched deliver delivered
	delivering late delayed delay coming come here due eta yet expected expect expecting received receive got
	status progress happening happened going doing renew renews renewal ready left stuck lost missing overdue out
	scheduled booked active paused cancelled canceled processed show active still ordered placed bought have`)

// functionWords carry no subject of their own.
var functionWords = set(`a an the this that these those my our your ur you u i we me us it its he she they them his her their
	is are am was were be been being do does did done have has had having will would shall should can could may might must
	to of in on at for from with by about as into onto and or but so if then than too also not no nor
	what when where which who whom whose why how there here please kindly just now really very quite actually simply
	want wanna need needs like love wish prefer try trying tried hope hoping going gonna would able possible
	help assist assistance support hand let lets get got any some all every one ones thing things something anything
	hi hello hey dear thanks thank cheers ok okay yes yeah well oh um er again right away soon asap today immediately quickly
	out up down off over back still already yet only ever never same own both each more most much many lot lots
	because since while until till before after during
	sorry wondering wonder was way kind sort sir madam team guys friend good morning afternoon evening day
	could've i've i'd i'll sure tell don't bit little moment minute possible longer anymore currently instead time
	someone somebody anyone mind
	damn goddamn bloody fucking stupid lousy awful terrible whole entire useless silly crappy expensive monthly weekly yearly annual good
	looking look looks seeing having s t re ve ll d m number regards called named latest current recent`)

// topics are what help centres write about. A sentence about one is a question,
// however it is put, unless an action's own words claim it.
var topics = set(`policy policies fee fees charge charges cost costs price prices pricing penalty penalties warranty warranties
	guarantee guarantees discount discounts coupon voucher vouchers gift size sizes sizing international abroad overseas worldwide
	customs tax taxes vat store stores shop shops stock material materials recycle sustainability exchange exchanges
	rules terms conditions privacy cookies methods method options option allowed allow accept accepted jobs careers
	refund refunds return returns reimbursement shipping delivery payment payments cancellation contact phone complaint review
	hours opening open closed wholesale newsletter`)

// generic words say that a sentence is about the site's ways in general and not
// about the visitor's own records.
var generic = set(`policy policies fee fees charge charges penalty penalties usually generally typically normally rule rules
	terms conditions methods method options option allowed accepted possible warranty guarantee`)

// notNames are words that follow "I am" or "this is" without being a name.
var notNames = set(`a an the not so very too really just still also already happy sad glad sorry angry upset fine good great well
	sure unsure ready done late early new old back here there home away out in on at from with without under over about
	interested afraid worried unhappy disappointed frustrated annoyed confused tired sick ill busy free able unable
	urgent important ridiculous terrible awful wrong right correct incorrect true false bad nice cool ok okay okey
	it what why how when where who which my your our his her their mine yours ours unacceptable broken
	pleased keen curious aware unaware stuck lost one only
	again now today tomorrow yesterday tonight monday tuesday wednesday thursday friday saturday sunday because but and or if
	supposed trying looking going having getting calling writing waiting wondering asking hoping thinking planning
	for to of as by off up down no yes please thanks and all always never english british american locked tall pregnant
	outside inside abroad overseas concerned missing due sick done finished alone certain currently`)

// roles say what somebody is to the site.
var roles = set("customer member subscriber buyer client owner user guest")

// relations come before a possessive that names nobody.
var relations = set(`husband wife partner son daughter mother father mum mom dad sister brother friend boss bride groom child kid
	men women man woman baby today yesterday tomorrow week month year people everyone someone everybody somebody
	customer shop store company other else monday tuesday wednesday thursday friday saturday sunday morning evening
	children kids it what that there here who where how let when he she name`)

// firstNames lets a common given name count as a name without its capital.
var firstNames = set(`alex jordan sam chris taylor morgan casey jamie riley james john robert michael william david richard joseph thomas
	charles mary patricia jennifer linda elizabeth barbara susan jessica sarah karen emma olivia ava sophia isabella mia
	charlotte amelia harper evelyn daniel matthew anthony donald steven paul andrew joshua kenneth kevin brian george
	edward ronald timothy jason jeffrey ryan jacob gary nicholas eric jonathan stephen larry justin scott brandon benjamin
	samuel frank gregory raymond alexander patrick jack dennis jerry tyler aaron jose adam nathan henry peter kyle anna
	maria laura kate katie lucy helen alice bob carol eve mallory ben tom tim joe jim mike dave steve nick matt dan rob
	mohammed muhammad ahmed ali fatima aisha priya raj wei li chen ana carlos luis juan marta ines joao pedro lena max`)

// familiar holds ordinary words one letter away from a word that
// matters, which are not typing errors.
var familiar = set(`chance chances older other others border holder elder paused pauses cause causes house moved mover lists
	fight light night slight flights place plane plate player plans plants plant show shoes shore shot snow slow stock
	shop stop stops step steps skin ship shirt shift sheet track truck trick trace brick crack traffic bill bills will well
	seattle live five time times mine wine line date data late rate gate hour hours four your ours book books look looks cook took
	books boot boots cancer candle counsel panel council dress drinks address seat seats heat meat neat beat sweet return
	refund fund found cash case cases cards yard hard sent sand land point found friend friends fiend women woman water
	whether weather leather letter later latter better location locations little title table stable cable phone phones home hone plain`)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// form is how a verb stands in a sentence.
type form uint8

const (
	noForm form = iota
	baseForm
	thirdForm // cancels
	ingForm   // cancelling
	pastForm  // cancelled
)

// verb is what one written word is as a verb.
type verb struct {
	class string
	form  form
}

// inflect adds every regular form of a lemma, British and American.
func inflect(m map[string]verb, lemma, class string) {
	put := func(w string, f form) {
		if _, ok := m[w]; !ok {
			m[w] = verb{class, f}
		}
	}
	put(lemma, baseForm)
	stem := lemma
	switch {
	case strings.HasSuffix(lemma, "e"):
		stem = lemma[:len(lemma)-1]
		put(lemma+"s", thirdForm)
	case strings.HasSuffix(lemma, "y") && len(lemma) > 1 && !strings.ContainsRune("aeiou", rune(lemma[len(lemma)-2])):
		put(lemma[:len(lemma)-1]+"ies", thirdForm)
		put(lemma[:len(lemma)-1]+"ied", pastForm)
	case strings.HasSuffix(lemma, "h") || strings.HasSuffix(lemma, "s") || strings.HasSuffix(lemma, "x"):
		put(lemma+"es", thirdForm)
	default:
		put(lemma+"s", thirdForm)
	}
	put(stem+"ed", pastForm)
	put(stem+"ing", ingForm)
	if last := lemma[len(lemma)-1]; len(lemma) > 2 && strings.IndexByte("lptdngbm", last) >= 0 {
		put(lemma+string(last)+"ed", pastForm)
		put(lemma+string(last)+"ing", ingForm)
	}
}

// irregular verbs of the classes above.
var irregular = map[string]verb{
	"seen": {"show", pastForm}, "saw": {"show", pastForm}, "shown": {"show", pastForm}, "found": {"show", pastForm},
	"told": {"show", pastForm}, "gave": {"show", pastForm}, "given": {"show", pastForm},
	"made": {"create", pastForm}, "bought": {"create", pastForm}, "sent": {"send", pastForm}, "paid": {"pay", pastForm},
	"cancellation": {"cancel", ingForm}, "cancelation": {"cancel", ingForm}, "termination": {"cancel", ingForm},
	"held": {"pause", pastForm}, "froze": {"pause", pastForm}, "frozen": {"pause", pastForm},
	"lost": {"lose", pastForm}, "broke": {"lose", pastForm}, "broken": {"lose", pastForm},
	"spoke": {"contact", pastForm}, "reset": {"reset", baseForm},
}

// verbWords and nounWords are built once from the tables.
var verbWords, nounWords = buildWords()

func buildWords() (map[string]verb, map[string]string) {
	verbs := map[string]verb{}
	for w, v := range irregular {
		verbs[w] = v
	}
	for _, line := range verbClasses {
		lemmas := strings.Fields(line)
		for _, l := range lemmas {
			inflect(verbs, l, lemmas[0])
		}
	}
	for _, l := range strings.Fields(loneVerbs) {
		inflect(verbs, l, l)
	}
	nouns := map[string]string{}
	for _, line := range nounSets {
		words := strings.Fields(line)
		for _, w := range words {
			nouns[w] = words[0]
			nouns[plural(w)] = words[0]
		}
	}
	// Written as verbs too, these are nouns far more often where customers talk.
	for _, w := range []string{"order", "orders", "booking", "bookings", "box", "package", "address", "plan", "details", "fitting", "opening"} {
		delete(verbs, w)
	}
	return verbs, nouns
}

func plural(w string) string {
	switch {
	case strings.HasSuffix(w, "y") && len(w) > 1 && !strings.ContainsRune("aeiou", rune(w[len(w)-2])):
		return w[:len(w)-1] + "ies"
	case strings.HasSuffix(w, "s"), strings.HasSuffix(w, "x"), strings.HasSuffix(w, "h"):
		return w + "es"
	}
	return w + "s"
}

// singular undoes plural, roughly.
func singular(w string) string {
	switch {
	case len(w) > 4 && strings.HasSuffix(w, "ies"):
		return w[:len(w)-3] + "y"
	case len(w) > 4 && (strings.HasSuffix(w, "sses") || strings.HasSuffix(w, "xes") || strings.HasSuffix(w, "ches") || strings.HasSuffix(w, "shes")):
		return w[:len(w)-2]
	case len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") && !strings.HasSuffix(w, "us") && !strings.HasSuffix(w, "is"):
		return w[:len(w)-1]
	}
	return w
}
