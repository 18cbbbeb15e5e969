package rollout

// Swap has a rollout follow another source.
func Swap(r *Rollout, s Source) { r.o.Source = s }
