package authz

# METADATA
# title: Nobody is signed in
# custom:
#   code: identity_absent
#   message: Please sign in first, then I can do that for you.
#   audit: A personal action was asked for without a token.
deny contains reason(rego.metadata.rule()) if {
	input.action.personal == true
	input.identity.state == "absent"
}

# METADATA
# title: The token does not verify
# custom:
#   code: identity_invalid
#   message: I could not confirm your sign-in. Please sign in again and I will carry on.
#   audit: >-
#     A personal action was asked for with a token that does not verify. The
#     exact cause is recorded beside the decision.
deny contains reason(rego.metadata.rule()) if {
	input.action.personal == true
	input.identity.state == "invalid"
}

# METADATA
# title: The identity was revoked
# custom:
#   code: identity_revoked
#   message: This sign-in has been ended. Please sign in again and I will carry on.
#   audit: The token verifies, but it or its subject has been revoked.
deny contains reason(rego.metadata.rule()) if {
	input.action.personal == true
	input.identity.revoked == true
}

# A token that does not say whether the address is verified passes: many
# websites verify addresses and never say so.

# METADATA
# title: The e-mail address is not verified
# custom:
#   code: email_unverified
#   message: Please confirm your e-mail address on the website first, then I can do that for you.
#   audit: The token says that email_verified is false.
deny contains reason(rego.metadata.rule()) if {
	input.action.personal == true
	input.identity.email_verified == false
}
