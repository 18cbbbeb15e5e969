package connectors

import (
	_ "embed"
	"fmt"
)

//go:embed knowledge.yaml
var knowledgeSource []byte

// KnowledgeManifest returns the manifest of kb.answer. Whoever assembles a site
// binds it to the site's knowledge base.
func KnowledgeManifest() *Manifest {
	m, err := ParseManifest("knowledge.yaml", knowledgeSource)
	if err != nil {
		panic(fmt.Sprintf("the embedded manifest: %v", err))
	}
	return m
}
