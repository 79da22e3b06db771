// needletailctl: etcdctl's commands for the native protocol.

import Glibc

exit(Program.run(Program.arguments()))
