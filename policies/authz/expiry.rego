package authz

# A sign-in that was live when its token was verified may have expired since. At
# the very second of its expiry it has.

# METADATA
# title: The sign-in has expired
# custom:
#   code: identity_expired
#   message: Your sign-in has expired. Please sign in again and I will carry on.
#   audit: The token's expiry, with the site's clock skew already added, has passed or is not known.
deny contains reason(rego.metadata.rule()) if {
	input.action.personal == true
	input.identity.state in {"expired", "verified"}
	not live
}

# METADATA
# title: The sign-in lasts longer than the site allows
# custom:
#   code: identity_too_long_lived
#   message: >-
#     I cannot use this kind of sign-in. Please sign in again; if this comes
#     back, the website's support can help you.
#   audit: The token's lifetime (exp - iat) is over the site's max_token_lifetime, or one of the two is not known.
deny contains reason(rego.metadata.rule()) if {
	input.action.personal == true
	input.identity.state == "verified"
	not short_lived
}

# live holds for a verified identity before its expiry.
live if {
	input.identity.state == "verified"
	input.now < input.identity.expires_at
}

# short_lived holds when the token's lifetime fits the site's limit.
short_lived if input.identity.lifetime <= input.site.max_token_lifetime
