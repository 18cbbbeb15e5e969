package browser

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
)

// node is what assistive software is told of one element.
type node struct {
	Role, Name string
	Properties map[string]string
}

func text(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	return strings.Trim(string(v.Value), `"`)
}

// tree is the page as assistive software sees it.
func (p *tab) tree() []node {
	p.t.Helper()
	got, err := chromedp.Call(p.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		p.t.Fatal(err)
	}
	var out []node
	for _, n := range got.Nodes {
		if n.Ignored {
			continue
		}
		one := node{text(n.Role), text(n.Name), map[string]string{}}
		for _, property := range n.Properties {
			one.Properties[string(property.Name)] = text(property.Value)
		}
		out = append(out, one)
	}
	return out
}

// find returns the only node of a role and name.
func find(t *testing.T, tree []node, role, name string) node {
	t.Helper()
	var found []node
	for _, n := range tree {
		if n.Role == role && n.Name == name {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		t.Errorf("assistive software finds no %s named %q", role, name)
		return node{}
	}
	return found[0]
}

func TestAssistiveSoftwareFindsItsWay(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	closed := p.tree()
	if got := find(t, closed, "button", "Chat with Harbor Goods").Properties["expanded"]; got != "false" {
		t.Errorf("the launcher's expanded is %q before it is pressed", got)
	}
	p.become("alex")
	p.say("Do you ship abroad?")
	one(t, p.say("cancel order 1002"), "confirm")
	tree := p.tree()
	find(t, tree, "dialog", "Harbor Goods")
	if got := find(t, tree, "textbox", "Your message").Properties; got["multiline"] != "true" || got["focused"] != "true" {
		t.Errorf("the message field is %v, want it of several lines and focused", got)
	}
	if got := find(t, tree, "log", "Conversation").Properties["live"]; got != "polite" {
		t.Errorf("the conversation's live is %q: new messages are not read out", got)
	}
	if got := find(t, tree, "button", "Close chat").Properties; got["hidden"] == "true" {
		t.Errorf("the close button is %v", got)
	}
	find(t, tree, "list", "Sources")
	find(t, tree, "link", "Shipping abroad")
	for _, name := range []string{"Send", "Yes, go ahead", "No, leave it"} {
		find(t, tree, "button", name)
	}
	said := ""
	for _, n := range tree {
		if n.Role == "StaticText" {
			said += n.Name
		}
	}
	shows(t, said, "You:", "Assistant:")

	named := []string{"button", "link", "textbox", "image", "dialog", "log", "navigation", "complementary"}
	for _, n := range slices.Concat(closed, tree) {
		if slices.Contains(named, n.Role) && n.Name == "" {
			t.Errorf("a %s has no name: %+v", n.Role, n)
		}
	}
}
