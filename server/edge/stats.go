package edge

// refused counts questions that were not believed, beside the verdicts.
const refused = Grant + 1

// numVerdicts is how many counters a dialect has.
const numVerdicts = int(refused) + 1

// Count is how often a verdict was given in a dialect.
type Count struct {
	Dialect string // "nginx", "forward", "envoy" or "grpc"
	Verdict string // "grant", "sign_in", "deny", "unavailable", or "refused": the question was not believed
	Count   uint64
}

// Stats returns the totals since New, in a fixed order, those that are 0 too.
func (e *Edge) Stats() []Count {
	var out []Count
	for d := range numDialects {
		for v := range numVerdicts {
			name := "refused"
			if v < int(refused) {
				name = Verdict(v).String()
			}
			out = append(out, Count{d.String(), name, e.counts[d][v].Load()})
		}
	}
	return out
}
