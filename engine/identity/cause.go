package identity

// Causes of a token that did not verify. They are stable: auditors search for
// them and integrators read them. None says anything about another person.
const (
	// CauseTooLarge: the token is longer than 8 KiB.
	CauseTooLarge = "token_too_large"
	// CauseMalformed: not three strict base64url segments with a JSON header.
	CauseMalformed = "token_malformed"
	// CauseEncrypted: the token is a JWE; only signed tokens are read.
	CauseEncrypted = "token_encrypted"
	// CauseNested: the header has a cty, so the payload is not a set of claims.
	CauseNested = "token_nested"
	// CauseCritRefused: the header has a crit or b64 member.
	CauseCritRefused = "token_crit_refused"
	// CauseHeaderRefused: the header brings or points to a key of its own.
	CauseHeaderRefused = "token_header_refused"
	// CauseAlgRefused: the header's alg is none, missing or not supported.
	CauseAlgRefused = "token_alg_refused"
	// CauseAlgMismatch: the header's alg is not the one its key is for.
	CauseAlgMismatch = "token_alg_mismatch"
	// CauseKidMissing: the site has several keys and the header names none.
	CauseKidMissing = "token_kid_missing"
	// CauseUnknownKid: the header names a key the site does not have.
	CauseUnknownKid = "token_unknown_kid"
	// CauseKeyNotYetActive: the key's not_before is still to come.
	CauseKeyNotYetActive = "token_key_not_yet_active"
	// CauseKeyRetired: the key's retire_after has passed.
	CauseKeyRetired = "token_key_retired"
	// CauseKeysUnavailable: the site's published keys could not be fetched, or
	// the last ones fetched are too old to rely on.
	CauseKeysUnavailable = "token_keys_unavailable"
	// CauseSignatureInvalid: the signature is not the key's.
	CauseSignatureInvalid = "token_signature_invalid"
	// CauseClaimsMalformed: the payload is not one strict JSON object.
	CauseClaimsMalformed = "token_claims_malformed"
	// CauseClaimsTooLarge: the claims that are not ours exceed 4 KiB.
	CauseClaimsTooLarge = "token_claims_too_large"
	// CauseClaimMissing: a required claim is not there.
	CauseClaimMissing = "token_claim_missing"
	// CauseClaimInvalid: a claim has the wrong type, or a value out of bounds.
	CauseClaimInvalid = "token_claim_invalid"
	// CauseIssuerMismatch: iss is not the site's issuer.
	CauseIssuerMismatch = "token_issuer_mismatch"
	// CauseAudienceMismatch: aud does not hold the site's audience.
	CauseAudienceMismatch = "token_audience_mismatch"
	// CauseEmailInvalid: email is not an address in its plain form.
	CauseEmailInvalid = "email_invalid"
	// CauseLifetimeInvalid: exp is not after iat.
	CauseLifetimeInvalid = "token_lifetime_invalid"
	// CauseLifetimeTooLong: exp is more than 24 hours after iat.
	CauseLifetimeTooLong = "token_lifetime_too_long"
	// CauseIssuedInFuture: iat is later than now, skew allowed for.
	CauseIssuedInFuture = "token_issued_in_future"
	// CauseNotYetValid: nbf is later than now, skew allowed for.
	CauseNotYetValid = "token_not_yet_valid"
	// CauseExpired: exp has passed, skew allowed for, and all else holds.
	CauseExpired = "token_expired"
	// CauseRevoked: the token or its subject has been revoked.
	CauseRevoked = "token_revoked"
)

// fault is why a check failed. The zero fault is none.
type fault struct {
	cause  string
	detail string // the member at fault and what is wrong with it; no values
}
