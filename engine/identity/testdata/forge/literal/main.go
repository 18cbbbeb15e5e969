// Command literal tries to make a Visitor with a composite literal.
package main

import "vouchsafe/engine/identity"

func main() { _ = identity.Visitor{v: nil} }
