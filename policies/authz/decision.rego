# METADATA
# title: Authorization
# description: >-
#   May this visitor do this action now? Allowed takes every positive fact and
#   not one denial, so whatever is missing, unknown or undefined is not allowed.
package authz

# METADATA
# title: The decision
# description: >-
#   What the engine asks for. Reasons and obligations are sets and come out
#   sorted. A decision that neither allows nor gives a reason is malformed, which
#   denies too: that is what becomes of an input these rules do not know.
# entrypoint: true
decision := {"allow": true, "reasons": [], "obligations": []} if {
	allow
	count(oblige) == 0
} else := {"allow": true, "reasons": [], "obligations": oblige} if {
	allow
} else := {"allow": false, "reasons": deny, "obligations": []}

default allow := false

# A personal action takes a verified visitor. A denial that compares something
# is the negation of a rule that must hold, so that what is missing denies. The
# comparison may not stand under `not` itself: OPA works out the operands of
# `not input.a <= input.b` before the negation, and when one is missing there is
# no denial at all. `vouchsafe policy check` refuses such a rule.
allow if {
	input.action.personal == true
	input.identity.state == "verified"
	input.channel in {"action", "chat"}
	count(deny) == 0
}

# A public action takes nobody in particular.
allow if {
	input.action.personal == false
	input.channel in {"action", "chat"}
	count(deny) == 0
}

# What a denial says comes from the METADATA of the rule that denies, and is
# written nowhere else. A rule that lacks a code or a message still denies: the
# engine takes the empty reason for a malformed decision, and `policy check`
# names the rule.
reason(rule) := {"code": rule.custom.code, "message": rule.custom.message} if {
	rule.custom
} else := {"code": "", "message": ""}
