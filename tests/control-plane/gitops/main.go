// Evaluates objects as GitOps tools do, with Flux's libraries and with the Lua interpreter that Argo CD uses.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"github.com/fluxcd/pkg/ssa"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"
)

const usage = `usage: gitops COMMAND <OBJECT.json

  kstatus             prints the status that kstatus computes for the object
  kstatus FLUX.yaml   prints the status that the healthCheckExprs of a Flux Kustomization compute for the object
  argocd HEALTH.lua   prints the health that an Argo CD health script computes for the object
  apply               applies the object as Flux's kustomize-controller does, and prints the change
  wait TIMEOUT        waits until the object is ready or has failed, as Flux's kustomize-controller does
  prune               deletes the objects of a List as Flux's kustomize-controller does

The last three commands read the cluster from KUBECONFIG.`

// The status or health of an object.
type result struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New(usage)
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	// Integers stay integers, as in a client of the API server.
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		return err
	}
	switch {
	case arguments[0] == "kstatus" && len(arguments) == 1:
		computed, err := status.Compute(object)
		if err != nil {
			return err
		}
		return print(result{computed.Status.String(), computed.Message})
	case arguments[0] == "kstatus" && len(arguments) == 2:
		evaluator, err := evaluatorOf(arguments[1])
		if err != nil {
			return err
		}
		computed, err := evaluator.Evaluate(context.Background(), object)
		if err != nil {
			return err
		}
		return print(result{computed.Status.String(), computed.Message})
	case arguments[0] == "argocd" && len(arguments) == 2:
		script, err := os.ReadFile(arguments[1])
		if err != nil {
			return err
		}
		health, err := evaluateHealthScript(object, string(script))
		if err != nil {
			return err
		}
		return print(health)
	case arguments[0] == "apply" && len(arguments) == 1:
		manager, err := newManager()
		if err != nil {
			return err
		}
		entry, err := manager.Apply(context.Background(), object, ssa.DefaultApplyOptions())
		if err != nil {
			return err
		}
		fmt.Println(entry.Action)
		return nil
	case arguments[0] == "wait" && len(arguments) == 2:
		timeout, err := time.ParseDuration(arguments[1])
		if err != nil {
			return err
		}
		manager, err := newManager()
		if err != nil {
			return err
		}
		options := ssa.WaitOptions{Interval: 200 * time.Millisecond, Timeout: timeout, FailFast: true}
		return manager.Wait([]*unstructured.Unstructured{object}, options)
	case arguments[0] == "prune" && len(arguments) == 1:
		manager, err := newManager()
		if err != nil {
			return err
		}
		list, err := object.ToList()
		if err != nil {
			return err
		}
		var objects []*unstructured.Unstructured
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
		_, err = manager.DeleteAll(context.Background(), objects, ssa.DefaultDeleteOptions())
		return err
	default:
		return errors.New(usage)
	}
}

func print(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}

// Reads the healthCheckExprs of a Flux Kustomization.
func evaluatorOf(path string) (*cel.StatusEvaluator, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	kustomization := struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}{}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return nil, err
	}
	if checks := kustomization.Spec.HealthCheckExprs; len(checks) == 1 {
		return cel.NewStatusEvaluator(&checks[0].HealthCheckExpressions)
	}
	return nil, fmt.Errorf("%s must have exactly one entry in healthCheckExprs", path)
}

// Creates a resource manager as kustomize-controller does.
func newManager() (*ssa.ResourceManager, error) {
	// The errors contain everything that the manager logs.
	log.SetLogger(log.Log.WithSink(nil))
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	kubernetes, err := client.New(config, client.Options{})
	if err != nil {
		return nil, err
	}
	poller := polling.NewStatusPoller(kubernetes, kubernetes.RESTMapper(), polling.Options{})
	owner := ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"}
	return ssa.NewResourceManager(kubernetes, poller, owner), nil
}
