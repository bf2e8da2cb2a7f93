package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

// What Argo CD knows; any other answer becomes Unknown there.
var healths = []string{"Healthy", "Progressing", "Suspended", "Degraded", "Missing", "Unknown"}

// Runs a health script as Argo CD 3.5 does (util/lua, VM.ExecuteHealthLua): for one second, with no library but package,
// base and table, since that is what a script in argocd-cm gets by default. Argo CD's own package is not imported, since
// it brings 1,444 packages to compile, twice as many as all the rest here.
func healthByScript(object *unstructured.Unstructured, script string) (*verdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	} {
		function := lua.P{Fn: state.NewFunction(open), NRet: 0, Protect: true}
		if err := state.CallByParam(function, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	// Argo CD has whole numbers as Lua's numbers, too.
	text, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	value, err := luajson.Decode(state, text)
	if err != nil {
		return nil, err
	}
	state.SetGlobal("obj", value)
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	answer := state.Get(-1)
	if answer.Type() != lua.LTTable {
		return nil, fmt.Errorf("the script returned a %s instead of a table", answer.Type())
	}
	text, err = luajson.Encode(answer)
	if err != nil {
		return nil, err
	}
	health := &verdict{}
	if err := json.Unmarshal(text, health); err != nil {
		return nil, err
	}
	if !slices.Contains(healths, health.Status) {
		return nil, fmt.Errorf("the script returned %s, which Argo CD does not know", text)
	}
	return health, nil
}
