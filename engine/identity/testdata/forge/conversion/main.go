// Command conversion tries to convert a look-alike into a Visitor.
package main

import "vouchsafe/engine/identity"

type visitor struct{ site, subject, email string }

func main() { _ = identity.Visitor(struct{ v *visitor }{&visitor{"shop", "c-1", "alex@example.com"}}) }
