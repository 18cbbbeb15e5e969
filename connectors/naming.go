package connectors

import (
	"slices"
	"strings"
	"unicode"
)

// The last word of a name that stands for one record among many. The first
// group counts at the end of a word too (orderid, orderref).
var (
	recordEndings = []string{"uuid", "guid", "id", "number", "reference", "ref", "code", "sku"}
	recordWords   = []string{"no", "nr", "num", "key", "slug", "handle", "token", "ids", "refs"}
)

// What such a word may follow without naming a record: places, telephones, and
// what there is a fixed list of.
var harmlessBefore = []string{
	"post", "postal", "zip", "area", "country", "state", "region", "county", "currency", "language", "lang",
	"phone", "telephone", "mobile", "cell", "fax", "contact", "dial", "dialling", "dialing", "calling",
	"house", "street", "building", "flat", "apartment", "unit", "floor", "door", "suite", "reason",
}

// English words that only look as if they ended in "id".
var notIDs = []string{"paid", "prepaid", "postpaid", "unpaid", "bid", "valid", "invalid", "grid", "void", "avoid", "rapid", "solid", "liquid", "hybrid", "kid", "mid"}

// Names of whoever an action is done for, which the token alone says.
var customerNames = []string{
	"email", "emails", "mail", "emailaddress", "subject", "sub",
	"customer", "customerid", "customeremail", "customernumber", "customerref", "customerreference", "customername",
	"user", "userid", "useremail", "username", "owner", "ownerid", "owneremail",
	"account", "accountid", "accountnumber", "accountemail",
	"client", "clientid", "clientemail", "member", "memberid", "memberemail",
}

// namesCustomer reports a name that says whose account is meant.
func namesCustomer(name string) bool {
	if slices.Contains(customerNames, plain(name)) {
		return true
	}
	ws := words(name)
	return len(ws) > 1 && (slices.Contains(ws, "email") || slices.Contains(customerWords, ws[len(ws)-1]))
}

// customerWords end names of whoever an action is done for: target_account.
var customerWords = []string{"user", "account", "customer", "client", "member", "owner", "subscriber"}

// namesRecord reports a name whose last word says that it stands for a record:
// order_id, orderNumber, sku, gift_code, but not postcode or phone_number.
func namesRecord(name string) bool {
	_, ok := recordStem(name)
	return ok
}

// recordStem is the name without the word that makes it one of a record:
// "order" of order_id, "" of id.
func recordStem(name string) (string, bool) {
	ws := words(name)
	if len(ws) == 0 {
		return "", false
	}
	last, before := ws[len(ws)-1], ws[:len(ws)-1]
	if slices.Contains(notIDs, last) {
		return "", false
	}
	stem, ok := strings.Join(before, ""), slices.Contains(recordWords, last)
	one := strings.TrimSuffix(last, "s")
	for _, ending := range recordEndings {
		if rest, found := strings.CutSuffix(one, ending); found && !ok {
			if rest != "" {
				before = append(slices.Clone(before), rest)
			}
			stem, ok = stem+rest, true
		}
	}
	if !ok || len(before) > 0 && slices.Contains(harmlessBefore, before[len(before)-1]) {
		return "", false
	}
	return stem, true
}

// plain is a name without case and separators.
func plain(name string) string { return strings.Join(words(name), "") }

// words splits a name where its case changes and at what is not a letter or a
// digit. A number at its end does not count.
func words(name string) []string {
	var out []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			out = append(out, strings.ToLower(string(word)))
		}
		word = nil
	}
	lower := false
	for _, c := range name {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) || unicode.IsUpper(c) && lower {
			flush()
		}
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			word = append(word, c)
		}
		lower = unicode.IsLower(c) || unicode.IsDigit(c)
	}
	flush()
	for len(out) > 0 {
		last := strings.TrimRightFunc(out[len(out)-1], unicode.IsDigit)
		if out[len(out)-1] = last; last != "" {
			break
		}
		out = out[:len(out)-1]
	}
	return out
}
