// Every way a snapshot can fail to be written or read. A bad file ends here, never in a trap.

import Glibc
import NeedletailBackend

public enum SnapshotError: Error, Sendable, Equatable {
  /// What a file that is no whole snapshot got wrong.
  public enum Damage: String, Sendable, Equatable {
    case truncated = "the file ends before its trailer"
    case header = "the header's checksum does not match, or a field of it is impossible"
    case frameHeader = "a frame's header is damaged, or not the one expected here"
    case frameData = "a frame's checksum does not match its contents"
    case compression = "a frame cannot be decompressed to the length it states"
    case records = "a record is malformed, or records are not in ascending order"
    case totals = "the trailer's totals are not those of the frames"
    case digest = "the SHA-256 of the file is not the one in its trailer"
    case trailingBytes = "bytes follow the trailer"
  }
  /// `offset`: the byte of the file where the damaged part begins.
  case damaged(Damage, offset: UInt64)
  case notASnapshot(path: String)
  case unsupportedVersion(found: UInt32, supported: UInt32)
  /// A system call on `path` failed.
  case io(operation: String, path: String, errno: Int32)
  /// The file system is full; nothing is left under the final name.
  case noSpace(path: String)
  /// Restoring never replaces anything.
  case exists(path: String)
  /// The database that is read from or written to.
  case database(DatabaseError)
  /// A library refused its work: memory, in practice.
  case library(String)
  /// The progress callback asked to stop.
  case cancelled
}

extension SnapshotError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .damaged(let damage, let offset): "the snapshot is damaged at byte \(offset): \(damage.rawValue)"
    case .notASnapshot(let path): "\(path) is not a Needletail snapshot"
    case .unsupportedVersion(let found, let supported):
      "the snapshot has format version \(found); this program reads version \(supported)"
    case .io(let operation, let path, let code): "\(operation) \(path): \(String(cString: strerror(code)))"
    case .noSpace(let path): "no space left for \(path)"
    case .exists(let path): "\(path) exists already: restore to another place, or move it away"
    case .database(let error): "database: \(error)"
    case .library(let what): what
    case .cancelled: "cancelled"
    }
  }
}
