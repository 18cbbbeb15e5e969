package authz_test

import data.authz

# Alex asks for an order of their own. Every test starts from it.
_alex := {
	"site": {"id": "demo", "tier": "pro", "max_token_lifetime": 900},
	"identity": {
		"state": "verified",
		"subject": "cus_1001",
		"email": "alex@example.com",
		"name": "Alex",
		"issued_at": 43100,
		"expires_at": 43460,
		"lifetime": 300,
		"token_id": "t-1",
	},
	"action": {"name": "order.lookup", "personal": true, "risk": "read", "min_tier": "pro", "args": {"order_id": "1001"}},
	"target": {"email": "alex@example.com"},
	"asserted": {"emails": [], "names": []},
	"confirmation": {"confirmed": false},
	"conversation": {"id": "cv_1", "subject": "cus_1001"},
	"channel": "chat",
	"now": 43200,
}

_public := {"name": "kb.answer", "personal": false, "risk": "read", "min_tier": "free", "args": {}}

# _with is Alex's question with some values changed, by path.
_with(changes) := json.patch(_alex, [{"op": "add", "path": path, "value": value} | some path, value in changes])

_without(path) := json.remove(_alex, [path])

_codes(question) := codes if {
	decision := authz.decision with input as question
	codes := {reason.code | some reason in decision.reasons}
}

_allowed(question) if {
	decision := authz.decision with input as question
	decision.allow == true
	count(decision.reasons) == 0
}

_denied(question) if {
	decision := authz.decision with input as question
	decision.allow == false
	count(decision.obligations) == 0
}

# identity

test_verified_visitor_is_allowed if {
	_allowed(_alex)
	_allowed(_with({"channel": "action"}))
}

test_decision_has_exactly_its_members if {
	decision := authz.decision with input as _alex
	decision == {"allow": true, "reasons": [], "obligations": []}
}

test_nobody_signed_in if {
	question := _with({"identity": {"state": "absent"}})
	_denied(question)
	_codes(question) == {"identity_absent"}
}

test_token_that_does_not_verify if {
	question := _with({"identity": {"state": "invalid"}})
	_denied(question)
	_codes(question) == {"identity_invalid"}
}

test_three_refusals_are_three_texts if {
	messages := {reason.message |
		some state in ["absent", "invalid", "expired"]
		decision := authz.decision with input as _with({"identity": {"state": state}})
		some reason in decision.reasons
	}
	count(messages) == 3
}

test_revoked if _codes(_with({"identity/revoked": true})) == {"identity_revoked"}

test_revoked_false_changes_nothing if _allowed(_with({"identity/revoked": false}))

test_email_not_verified if _codes(_with({"identity/email_verified": false})) == {"email_unverified"}

test_email_verified_or_unsaid_is_allowed if {
	_allowed(_with({"identity/email_verified": true}))
	_allowed(_alex)
}

test_unknown_states_deny if {
	every state in ["", "Verified", "revoked", true, 1, null] {
		_denied(_with({"identity/state": state}))
	}
	_denied(_without("identity/state"))
	_denied(_without("identity"))
}

# expiry

test_expired_token if {
	question := _with({"identity": {"state": "expired", "subject": "cus_1001", "expires_at": 43000}})
	_denied(question)
	_codes(question) == {"identity_expired"}
}

test_expired_state_is_not_revived_by_a_later_expiry if {
	_codes(_with({"identity/state": "expired", "identity/expires_at": 99999})) == {"identity_expired"}
}

test_expiry_to_the_second if {
	_allowed(_with({"now": 43459}))
	_codes(_with({"now": 43460})) == {"identity_expired"}
	_codes(_with({"now": 43461})) == {"identity_expired"}
}

test_unknown_expiry_is_expired if {
	_codes(_without("identity/expires_at")) == {"identity_expired"}
	_codes(_without("now")) == {"identity_expired"}
}

test_lifetime_to_the_second if {
	_allowed(_with({"identity/lifetime": 900}))
	_codes(_with({"identity/lifetime": 901})) == {"identity_too_long_lived"}
}

test_unknown_lifetime_is_too_long if {
	_codes(_without("identity/lifetime")) == {"identity_too_long_lived"}
	_codes(_without("site/max_token_lifetime")) == {"identity_too_long_lived"}
}

# pinning

test_other_target if _codes(_with({"target/email": "jordan@example.com"})) == {"target_mismatch"}

test_near_targets if {
	every email in ["", "Alex@example.com", "alex@example.com ", "alex@example.co", "alex@example.com.evil.test"] {
		_codes(_with({"target/email": email})) == {"target_mismatch"}
	}
}

test_missing_target if {
	_codes(_without("target")) == {"target_mismatch"}
	_codes(_without("target/email")) == {"target_mismatch"}
}

test_nobody_is_pinned_to_nobody if {
	_codes(_with({"target/email": "", "identity/email": ""})) == {"target_mismatch"}
	_codes(json.remove(_alex, ["target", "identity/email"])) == {"target_mismatch"}
}

test_asserted_name_changes_nothing if _allowed(_with({"asserted/names": ["Jordan"]}))

test_target_is_not_judged_for_nobody if {
	_codes(_with({"identity": {"state": "absent"}, "target/email": "jordan@example.com"})) == {"identity_absent"}
}

# tier

test_every_pair_of_tiers if {
	rank := {"free": 1, "pro": 2, "business": 3}
	every site, has in rank {
		every wanted, needs in rank {
			enough := has >= needs
			_offered(site, wanted) == enough
		}
	}
}

_offered(site, wanted) := decision.allow if {
	decision := authz.decision with input as _with({"site/tier": site, "action/min_tier": wanted})
}

test_low_tier if {
	_codes(_with({"site/tier": "free"})) == {"tier_insufficient"}
	_codes(_with({"site/tier": "pro", "action/min_tier": "business"})) == {"tier_insufficient"}
}

test_unknown_tiers_deny if {
	every tier in ["", "Pro", "enterprise", "includes", null, 2] {
		_codes(_with({"site/tier": tier})) == {"tier_insufficient"}
		_codes(_with({"action/min_tier": tier})) == {"tier_insufficient"}
	}
	_codes(_without("site/tier")) == {"tier_insufficient"}
	_codes(_without("action/min_tier")) == {"tier_insufficient"}
}

test_low_tier_for_a_public_action if {
	question := _with({"action": object.union(_public, {"min_tier": "business"})})
	_codes(question) == {"tier_insufficient"}
	_denied(question)
}

# public actions

test_public_action_takes_nobody if {
	every state in ["absent", "invalid", "expired", "verified"] {
		_allowed(_with({"identity": {"state": state}, "action": _public}))
	}
}

test_public_action_does_not_judge_the_identity if {
	_allowed(_with({"action": _public, "target/email": "jordan@example.com", "identity/email_verified": false}))
}

# what nobody knows

test_unknown_channels_deny if {
	every channel in ["", "Chat", "mcp", null] {
		_denied(_with({"channel": channel}))
		_denied(_with({"channel": channel, "action": _public}))
	}
	_denied(_without("channel"))
}

test_personal_must_be_a_boolean if {
	every personal in ["true", "false", 0, 1, null, {}] {
		_denied(_with({"action/personal": personal}))
	}
	_denied(_without("action/personal"))
	_denied(_without("action"))
}

test_empty_input_denies if _denied({})

# confirmation

test_destructive_obliges_confirm if {
	decision := authz.decision with input as _with({"action/risk": "destructive"})
	decision == {"allow": true, "reasons": [], "obligations": {{"kind": "confirm"}}}
}

test_unclear_confirmation_is_none if {
	every confirmation in [{}, {"confirmed": "true"}, {"confirmed": null}] {
		decision := authz.decision with input as _with({"action/risk": "destructive", "confirmation": confirmation})
		decision.obligations == {{"kind": "confirm"}}
	}
}

test_confirmed_destructive_is_plainly_allowed if {
	decision := authz.decision with input as _with({"action/risk": "destructive", "confirmation/confirmed": true})
	decision == {"allow": true, "reasons": [], "obligations": []}
}

test_read_and_write_need_no_confirmation if {
	every risk in ["read", "write"] {
		decision := authz.decision with input as _with({"action/risk": risk})
		decision == {"allow": true, "reasons": [], "obligations": []}
	}
}

test_denied_obliges_nothing if {
	_denied(_with({"action/risk": "destructive", "target/email": "jordan@example.com"}))
}

# reasons

test_every_cause_is_named if {
	codes := _codes(_with({
		"site/tier": "free",
		"identity/lifetime": 901,
		"identity/revoked": true,
		"identity/email_verified": false,
		"target/email": "jordan@example.com",
		"now": 43460,
	}))
	codes == {
		"email_unverified",
		"identity_expired",
		"identity_revoked",
		"identity_too_long_lived",
		"target_mismatch",
		"tier_insufficient",
	}
}

test_reasons_hold_nothing_but_code_and_message if {
	decision := authz.decision with input as _with({"target/email": "jordan@example.com"})
	every reason in decision.reasons {
		object.keys(reason) == {"code", "message"}
		not contains(reason.message, "@")
	}
}

test_reason_of_a_rule_without_metadata_is_empty if {
	authz.reason({}) == {"code": "", "message": ""}
	authz.reason({"custom": {"code": "x"}}) == {"code": "", "message": ""}
}
