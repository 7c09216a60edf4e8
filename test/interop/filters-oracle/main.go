// Answers what Hubble's own filters say: reads one JSON object a line from standard input, writes one a line.
//
//	{"whitelist": [FlowFilter], "blacklist": [FlowFilter], "flows": [Flow]}   ->   {"matches": "101"}
//	                                                                          ->   {"error": "invalid port ..."}
//
// Filters and flows are in protobuf's JSON form. "flows" may be left out: then the ones of the last line that had some
// are asked again.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"google.golang.org/protobuf/encoding/protojson"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	v1 "github.com/cilium/cilium/pkg/hubble/api/v1"
	"github.com/cilium/cilium/pkg/hubble/filters"
)

type question struct {
	Whitelist []json.RawMessage `json:"whitelist"`
	Blacklist []json.RawMessage `json:"blacklist"`
	Flows     []json.RawMessage `json:"flows"`
}

type answer struct {
	Matches string `json:"matches,omitempty"`
	Error   string `json:"error,omitempty"`
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	available := filters.DefaultFilters(slog.New(slog.DiscardHandler))
	var flows []*v1.Event
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			encoder.Encode(reply(line, available, &flows))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	out.Flush()
}

func reply(line []byte, available []filters.OnBuildFilter, flows *[]*v1.Event) (result answer) {
	// A filter that panics is an answer as well: nobody is served.
	defer func() {
		if fault := recover(); fault != nil {
			result = answer{Error: fmt.Sprint("panic: ", fault)}
		}
	}()
	var q question
	if err := json.Unmarshal(line, &q); err != nil {
		return answer{Error: "question: " + err.Error()}
	}
	if q.Flows != nil {
		events, err := readFlows(q.Flows)
		if err != nil {
			return answer{Error: "question: " + err.Error()}
		}
		*flows = events
	}
	whitelist, err := build(q.Whitelist, available)
	if err != nil {
		return answer{Error: err.Error()}
	}
	blacklist, err := build(q.Blacklist, available)
	if err != nil {
		return answer{Error: err.Error()}
	}
	matches := make([]byte, len(*flows))
	for i, event := range *flows {
		matches[i] = '0'
		if filters.Apply(whitelist, blacklist, event) {
			matches[i] = '1'
		}
	}
	return answer{Matches: string(matches)}
}

func build(list []json.RawMessage, available []filters.OnBuildFilter) (filters.FilterFuncs, error) {
	parsed := make([]*flowpb.FlowFilter, 0, len(list))
	for _, raw := range list {
		filter := new(flowpb.FlowFilter)
		if err := protojson.Unmarshal(raw, filter); err != nil {
			return nil, err
		}
		parsed = append(parsed, filter)
	}
	return filters.BuildFilterList(context.Background(), parsed, available)
}

func readFlows(list []json.RawMessage) ([]*v1.Event, error) {
	events := make([]*v1.Event, 0, len(list))
	for _, raw := range list {
		flow := new(flowpb.Flow)
		if err := protojson.Unmarshal(raw, flow); err != nil {
			return nil, err
		}
		events = append(events, &v1.Event{Timestamp: flow.GetTime(), Event: flow})
	}
	return events, nil
}
