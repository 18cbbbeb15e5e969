package release

# METADATA
# title: Nobody is signed in who could own the record
# custom:
#   code: release_unverified
#   message: Please sign in again to see this.
#   audit: A personal action brought records back for an identity that is not verified.
withhold contains withheld(i, rego.metadata.rule()) if {
	input.action.personal == true
	not input.identity.state == "verified"
	some i, _ in input.records
}
