# METADATA
# title: Release
# description: >-
#   What of an action's records stays back. The engine has already withheld every
#   record whose owner is not the pinned customer, and every field the manifest
#   does not name; these rules can only hold back more.
package release

# METADATA
# title: The release
# description: What the engine asks for, with the records added to input.
# entrypoint: true
decision := {"withheld": withhold, "redacted": redact}

# What a withheld record is told by comes from the METADATA of the rule that
# withholds it. The engine takes an empty code for a malformed decision and
# releases nothing.
withheld(i, rule) := {"record": i, "code": rule.custom.code, "message": rule.custom.message} if {
	rule.custom
} else := {"record": i, "code": "", "message": ""}
