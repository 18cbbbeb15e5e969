package authz

# A destructive action happens only once the visitor has said yes to a summary
# of it. The engine enforces the obligation.
oblige contains {"kind": "confirm"} if {
	input.action.risk == "destructive"
	not input.confirmation.confirmed == true
}
