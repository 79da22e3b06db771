// Why a server does not start, or stops: one clear line for whoever runs it.
import Glibc
import NeedletailBackend
import NeedletailMVCC
import NeedletailRPC
import NeedletailSnapshot
import NeedletailWAL

package enum ServerError: Error, Equatable, Sendable {
  case system(operation: String, path: String, code: Int32)
  /// Another server has the directory.
  case directoryInUse(path: String)
  /// A file of the directory that this program did not write, or of another version.
  case badIdentity(path: String, why: String)
  /// A socket or its event loop.
  case listen(ReactorError)
  case database(DatabaseError)
  case log(WALError)
  case store(MVCCError)
  case snapshot(SnapshotError)
  /// --wal-dir names another place than the one that the log is in.
  case logElsewhere(log: String, wanted: String)
  /// A restore never touches what is there.
  case directoryNotEmpty(path: String)
  /// The log begins after what the tree has applied: entries between are lost.
  case logGap(applied: UInt64, found: UInt64)
  /// An entry of the log that this program cannot apply.
  case badEntry(index: UInt64, why: String)
}

extension ServerError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .system(let operation, let path, let code):
      "\(operation) \(path): \(String(cString: strerror(code)))"
    case .directoryInUse(let path):
      "\(path) is in use by another needletail: stop it first, or choose another --data-dir"
    case .badIdentity(let path, let why): "\(path): \(why)"
    case .listen(let error): "\(error)"
    case .database(let error): "database: \(error)"
    case .log(let error): "\(error)"
    case .store(let error): "store: \(error)"
    case .snapshot(let error): "snapshot: \(error)"
    case .logElsewhere(let log, let wanted):
      "the write-ahead log lies in \(log), not in \(wanted): with the server stopped, move its files there and remove the "
        + "directory that they were in, or start without --wal-dir"
    case .directoryNotEmpty(let path): "\(path) exists and is not empty: restore to another directory"
    case .logGap(let applied, let found):
      "the write-ahead log begins at entry \(found), but the tree has applied only up to \(applied): entries between "
        + "are missing; restore the data directory from a backup or a snapshot"
    case .badEntry(let index, let why): "entry \(index) of the write-ahead log can't be applied: \(why)"
    }
  }
}
