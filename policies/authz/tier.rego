package authz

# METADATA
# title: The site's tier does not include the action
# custom:
#   code: tier_insufficient
#   message: This website's assistant does not offer that. The website's own pages or its support can help you with it.
#   audit: The site's tier ranks below the action's min_tier, or one of the two is unknown.
deny contains reason(rego.metadata.rule()) if not offered

# offered holds when the site's tier includes the action's, public or personal.
# A tier that data.yaml does not know includes nothing and is included nowhere.
offered if data.tiers[input.site.tier].includes[input.action.min_tier] == true
