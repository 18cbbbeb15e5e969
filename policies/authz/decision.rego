# METADATA
# title: Authorization
# description: >-
#   May this visitor do this action now? Allowed takes every positive fact and
#   not one denial, so whatever is missing, unknown or undefined is not allowed.
package authz

# METADATA
# title: The decision
# description: What the engine asks for. Reasons and obligations are sets and come out sorted.
# entrypoint: true
decision := {"allow": allow, "reasons": deny, "obligations": oblige}

default allow := false

# A personal action takes a live, verified visitor who is pinned to the account.
allow if {
	input.action.personal == true
	input.channel in {"action", "chat"}
	live
	short_lived
	pinned
	offered
	count(deny) == 0
}

# A public action takes nobody in particular, but a site whose tier includes it.
allow if {
	input.action.personal == false
	input.channel in {"action", "chat"}
	offered
	count(deny) == 0
}

# What a denial says comes from the METADATA of the rule that denies, and is
# written nowhere else. A rule that lacks a code or a message still denies: the
# engine takes the empty reason for a malformed decision, and `policy check`
# names the rule.
reason(rule) := {"code": rule.custom.code, "message": rule.custom.message} if {
	rule.custom
} else := {"code": "", "message": ""}
