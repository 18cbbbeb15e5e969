package authz

# METADATA
# title: The action is aimed at somebody else's account
# custom:
#   code: target_mismatch
#   message: I can only act on the account you are signed in with. To use another account, please sign in to that one.
#   audit: The target's e-mail address differs from the one the token pins, or is missing.
deny contains reason(rego.metadata.rule()) if {
	input.action.personal == true
	input.identity.state == "verified"
	not pinned
}

# pinned holds when the account the action would run against is the one the
# token names. Both addresses are canonical, so plain equality will do; an
# empty one is nobody's.
pinned if {
	input.target.email == input.identity.email
	input.target.email != ""
}
