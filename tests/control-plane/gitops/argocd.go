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

// The health statuses of Argo CD. Argo CD shows any other status as Unknown.
var healths = []string{"Healthy", "Progressing", "Suspended", "Degraded", "Missing", "Unknown"}

// Runs a health script as Argo CD 3.5 does (util/lua, VM.ExecuteHealthLua): with a limit of one second, and with the
// libraries package, base and table only, the default for a script in argocd-cm. Argo CD's own package is not imported,
// because that would double the number of packages to compile.
func evaluateHealthScript(object *unstructured.Unstructured, script string) (*result, error) {
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
	// As in Argo CD, integers become Lua numbers.
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
	health := &result{}
	if err := json.Unmarshal(text, health); err != nil {
		return nil, err
	}
	if !slices.Contains(healths, health.Status) {
		return nil, fmt.Errorf("the script returned %s, which Argo CD does not know", text)
	}
	return health, nil
}
