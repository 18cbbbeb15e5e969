package release_test

import data.release

_records := [
	{"id": "1001", "fields": {"status": "shipped", "total": "42.00", "note": false}},
	{"id": "1002", "fields": {"status": "packed"}},
]

_input := {
	"site": {"id": "demo", "tier": "pro"},
	"identity": {"state": "verified", "email": "alex@example.com"},
	"action": {"name": "order.list", "personal": true, "args": {}},
	"records": _records,
}

_with(changes) := object.union(_input, changes)

test_own_records_are_released if {
	decision := release.decision with input as _input
	decision == {"withheld": set(), "redacted": set()}
}

test_no_records_nothing_to_hold_back if {
	every records in [[], null] {
		decision := release.decision with input as _with({"records": records})
		decision == {"withheld": set(), "redacted": set()}
	}
}

test_unverified_gets_no_record_of_a_personal_action if {
	every state in ["absent", "invalid", "expired", "", null] {
		decision := release.decision with input as _with({"identity": {"state": state}})
		{[held.record, held.code] | some held in decision.withheld} == {[0, "release_unverified"], [1, "release_unverified"]}
	}
}

test_missing_identity_gets_no_record if {
	decision := release.decision with input as object.remove(_input, ["identity"])
	count(decision.withheld) == 2
}

test_withheld_has_exactly_its_members if {
	decision := release.decision with input as _with({"identity": {"state": "absent"}})
	every held in decision.withheld {
		object.keys(held) == {"record", "code", "message"}
		held.message != ""
	}
}

test_public_records_need_nobody if {
	decision := release.decision with input as _with({"identity": {"state": "absent"}, "action": {"personal": false}})
	count(decision.withheld) == 0
}

test_field_hidden_everywhere if {
	decision := release.decision with input as _input with data.redact.everywhere as {"total": true}
	decision.redacted == {{"record": 0, "field": "total"}}
}

test_field_hidden_whatever_its_value if {
	decision := release.decision with input as _input with data.redact.everywhere as {"note": true}
	decision.redacted == {{"record": 0, "field": "note"}}
}

test_field_hidden_at_one_site if {
	hidden := {"demo": {"status": true}}
	here := release.decision with input as _input with data.redact.sites as hidden
	here.redacted == {{"record": 0, "field": "status"}, {"record": 1, "field": "status"}}
	elsewhere := release.decision with input as _with({"site": {"id": "shop"}}) with data.redact.sites as hidden
	elsewhere.redacted == set()
}

test_site_adds_to_everywhere if {
	decision := release.decision with input as _input
		with data.redact.everywhere as {"total": true}
		with data.redact.sites as {"demo": {"note": true}}
	decision.redacted == {{"record": 0, "field": "note"}, {"record": 0, "field": "total"}}
}

test_field_not_hidden_is_shown if {
	decision := release.decision with input as _input with data.redact.everywhere as {"total": false, "card": true}
	decision.redacted == set()
}

test_reason_of_a_rule_without_metadata_is_empty if {
	release.withheld(0, {}) == {"record": 0, "code": "", "message": ""}
}
