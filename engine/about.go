package engine

// About is whom and what one question to the policy was about: what a record of
// it is filed under.
type About struct {
	Subject      string // of the token, "" when none named one
	Email        string // canonical, of the token
	Unverified   bool   // the token says that the address was not verified
	Name         string // of the token
	TokenID      string
	Action       string
	Conversation string
	Channel      Channel
	// Asserted is what the visitor claimed or whom they named. The people in it
	// are not the visitor.
	Asserted Asserted
}
