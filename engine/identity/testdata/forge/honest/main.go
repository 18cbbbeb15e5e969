// Command honest does all that code outside can do with a Visitor.
package main

import "vouchsafe/engine/identity"

func main() { _ = identity.Visitor{}.Email() }
