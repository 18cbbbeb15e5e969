// Command positional tries to make a Visitor without naming its field.
package main

import "vouchsafe/engine/identity"

func main() { _ = identity.Visitor{nil} }
