package release

# Fields that no site shows.
redact contains {"record": i, "field": field} if {
	some field, hidden in data.redact.everywhere
	hidden == true
	some i, record in input.records
	_ = record.fields[field]
}

# Fields that this site does not show.
redact contains {"record": i, "field": field} if {
	some field, hidden in data.redact.sites[input.site.id]
	hidden == true
	some i, record in input.records
	_ = record.fields[field]
}
