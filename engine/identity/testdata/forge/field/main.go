// Command field tries to change a Visitor it was given.
package main

import "vouchsafe/engine/identity"

func main() {
	var v identity.Visitor
	v.v = nil
}
