// Command etcd is the etcd server, as its own main starts it, except that its log is written in
// smaller files: etcd allocates one in advance, and the tests copy them.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

func main() {
	wal.SegmentSizeBytes = 1 << 20
	etcdmain.Main(os.Args)
}
