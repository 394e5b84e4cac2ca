// Command spiffe-bundle fetches the bundle of a federated trust domain as SPIRE does with the
// profile https_web, by SPIFFE's own library, and prints its roots in PEM:
//
//	spiffe-bundle TRUST-DOMAIN URL CA-FILE
package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("expected a trust domain, a URL and a file with a CA")
	}
	trustDomain, err := spiffeid.TrustDomainFromString(arguments[0])
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(arguments[2])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return fmt.Errorf("%s: no certificate in PEM", arguments[2])
	}
	limit, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	bundle, err := federation.FetchBundle(limit, trustDomain, arguments[1], federation.WithWebPKIRoots(roots))
	if err != nil {
		return err
	}
	pem, err := bundle.X509Bundle().Marshal()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(pem)
	return err
}
