// Package plan turns a visitor's message into intents by rules and examples.
//
// A Planner is made from a site's catalog and knows nothing else of the site:
// an action is recognised by its name, title, examples, risk and argument
// schema. It has no model, no network and no memory, gives the same plan for
// the same message, and takes time linear in the message. What it returns is a
// wish and never proof of anything: every intent still goes through the gate.
package plan

import (
	"strings"
	"time"

	"vouchsafe/engine"
)

// KnowledgeAction is the public action that answers general questions. It is
// never an intent of a plan: a message for it has the kind Question.
const KnowledgeAction = "kb.answer"

// maxIntents bounds what one message may set going.
const maxIntents = 3

// Planner plans messages for one site. It is immutable.
type Planner struct {
	actions []*profile
	nouns   map[string]string // the catalog's own reading of a word
	verbs   map[string]verb
	known   map[string]bool   // written words that are no typing error
	near    map[string]string // a known word less one letter -> the word
	general []example         // examples of KnowledgeAction
	weight  map[string]float64
}

// Message is one thing a visitor said, with what it may refer to.
type Message struct {
	Text     string
	Now      time.Time
	Location *time.Location // the site's zone; nil is UTC
	Open     *Open          // a question asked in the last turn, nil if none
	Pending  bool           // a confirmation is waiting, so yes and no mean something
}

// Open is a question the visitor was asked: which value Missing has.
type Open struct {
	Action  string
	Args    map[string]any  // known so far
	When    map[string]When // understood so far
	Missing string
	Choices []Choice // what was offered, in the order shown
}

// Choice is one value offered for an argument.
type Choice struct {
	Value string   // what goes into the argument: "B-2041"
	Label string   // what the visitor saw: "Fitting consultation, Tue 24 Nov 10:00"
	Words []string // other words that mean it
}

// Kind is what a message is.
type Kind uint8

// The kinds. Unknown is a message that was not understood.
const (
	Unknown Kind = iota
	Act
	Question
	Yes
	No
	Greeting
	Thanks
	Handoff // wants to speak to a human
)

var kindNames = [...]string{"unknown", "act", "question", "yes", "no", "greeting", "thanks", "handoff"}

// String returns the kind's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Plan is what a message was understood to be.
type Plan struct {
	Kind     Kind
	Intents  []Step          // for Act, at least one, in the order asked
	Question string          // for Question, the text to ask the knowledge base
	Asserted engine.Asserted // whatever the Kind
	Suggest  []string        // for Unknown, up to three actions that come closest
	// Affirmed is set when an Act began with a yes while a confirmation was
	// waiting: "yes, cancel order 1002". Only if the intent is the waiting one
	// does it confirm anything; the caller compares.
	Affirmed bool
}

// Step is one intended action.
type Step struct {
	Intent engine.Intent
	// Missing are the required arguments that Intent.Args lacks, in the
	// schema's order.
	Missing []string
	// When holds what was understood of each argument that is a date, those
	// included that are still missing because only a part was said.
	When map[string]When
	// About is what the visitor said of the record meant, for Pick: the
	// message without what the arguments used up.
	About string
}

// When is a date as the visitor put it.
type When struct {
	Time    time.Time // in the site's zone
	HasTime bool      // false: only a day was said; the caller keeps the old time of day
	HasDay  bool      // false: only a time was said; the caller keeps the old day
	Text    string    // the words
}

// New makes the planner of a catalog.
func New(actions []*engine.Action) *Planner {
	p := &Planner{nouns: map[string]string{}, verbs: map[string]verb{}, known: map[string]bool{}, near: map[string]string{}}
	p.learnWords(actions)
	for _, a := range actions {
		if a.Name == KnowledgeAction {
			p.general = p.examplesOf(a)
			continue
		}
		p.actions = append(p.actions, p.profileOf(a, actions))
	}
	p.weigh()
	p.learnNear()
	return p
}

// Plan says what the message asks for.
func (p *Planner) Plan(m Message) Plan {
	if m.Location == nil {
		m.Location = time.UTC
	}
	m.Text = clip(m.Text, maxText)
	r := p.read(m)
	out := Plan{Asserted: r.asserted}

	// A waiting confirmation hears its answer first, and only a bare one.
	ans := answer(r.ts)
	if ans == saysYes && strings.Contains(m.Text, "?") {
		ans = noAnswer // "yes?" asks
	}
	if m.Pending && ans != noAnswer && ans != yesAndMore {
		out.Kind = Yes
		if ans == saysNo {
			out.Kind = No
		}
		return out
	}
	steps, closest := p.steps(r)
	if m.Open != nil {
		if step, ok := p.answerOpen(r, m.Open, steps); ok {
			out.Kind, out.Intents = Act, []Step{step}
			return out
		}
		if ans == saysNo {
			out.Kind = No
			return out
		}
	}
	if kind := courtesy(r.ts); kind != Unknown {
		out.Kind = kind
		return out
	}
	if len(steps) > 0 {
		out.Kind, out.Intents = Act, steps
		out.Affirmed = m.Pending && ans == yesAndMore
		return out
	}
	if p.asks(r) {
		out.Kind, out.Question = Question, m.Text
		return out
	}
	out.Suggest = closest
	return out
}
