// Requests as a caller builds them: they own their bytes.

import NeedletailRPC

public typealias KeyValue = NeedletailRPC.KeyValue
public typealias ResponseHeader = NeedletailRPC.ResponseHeader
public typealias RangeResponse = NeedletailRPC.RangeResponse
public typealias PutResponse = NeedletailRPC.PutResponse
public typealias DeleteRangeResponse = NeedletailRPC.DeleteRangeResponse
public typealias CompactionResponse = NeedletailRPC.CompactionResponse
public typealias LeaseResponse = NeedletailRPC.LeaseResponse
public typealias LeaseListResponse = NeedletailRPC.LeaseListResponse
public typealias WatchEvent = NeedletailRPC.WatchEvent
public typealias WatchResponse = NeedletailRPC.WatchResponse
public typealias StatusResponse = NeedletailRPC.StatusResponse
public typealias StatusCode = NeedletailRPC.StatusCode
public typealias StatusError = NeedletailRPC.StatusError
public typealias SortOrder = NeedletailRPC.SortOrder
public typealias SortTarget = NeedletailRPC.SortTarget

/// A set of keys that lie side by side.
public enum KeyRange: Sendable, Equatable {
  case key([UInt8])
  /// start ≤ key < end
  case range([UInt8], end: [UInt8])
  case prefix([UInt8])
  /// key ≥ start
  case from([UInt8])
  case all

  /// The two fields of a request that say this. etcd's rules: an empty end means the one key, a zero byte as the end
  /// means no end, and an empty start is written as a zero byte, because an empty key is refused.
  package var bounds: (key: [UInt8], rangeEnd: [UInt8]) {
    switch self {
    case .key(let key): (key, [])
    case .range(let start, let end): (start, end)
    case .prefix(let prefix): prefix.isEmpty ? ([0], [0]) : (prefix, KeyRange.end(ofPrefix: prefix))
    case .from(let start): (start.isEmpty ? [0] : start, [0])
    case .all: ([0], [0])
    }
  }

  /// The first key after all that begin with `prefix`: its last byte below 0xFF plus one. All 0xFF: there is no end.
  static func end(ofPrefix prefix: [UInt8]) -> [UInt8] {
    guard let last = prefix.lastIndex(where: { $0 < 0xFF }) else { return [0] }
    return prefix[..<last] + [prefix[last] + 1]
  }
}

/// Which pairs a range reads, and what of them.
public struct RangeRequest: Sendable, Equatable {
  public var keys: KeyRange
  /// Most pairs wanted; 0 = all.
  public var limit: Int64 = 0
  /// The revision to read at; 0 = the newest.
  public var revision: Int64 = 0
  public var sortTarget = SortTarget.key
  public var sortOrder = SortOrder.none
  /// Whether the server may answer from what it has, without asking the cluster if it is the newest.
  public var serializable = false
  public var keysOnly = false
  public var countOnly = false
  public var minModRevision: Int64 = 0
  public var maxModRevision: Int64 = 0
  public var minCreateRevision: Int64 = 0
  public var maxCreateRevision: Int64 = 0

  public init(_ keys: KeyRange) { self.keys = keys }

  package func encoded() -> [UInt8] {
    let (key, rangeEnd) = keys.bounds
    return key.withUnsafeBytes { key in
      rangeEnd.withUnsafeBytes { rangeEnd in
        var view = RangeRequestView()
        view.key = key
        view.rangeEnd = rangeEnd
        view.limit = limit
        view.revision = revision
        view.rawSortTarget = sortTarget.rawValue
        // etcd's clients do the same: keys come in ascending order anyhow, and a limit stays cheap.
        view.rawSortOrder = sortTarget == .key && sortOrder == .ascend ? 0 : sortOrder.rawValue
        view.serializable = serializable
        view.keysOnly = keysOnly
        view.countOnly = countOnly
        view.minModRevision = minModRevision
        view.maxModRevision = maxModRevision
        view.minCreateRevision = minCreateRevision
        view.maxCreateRevision = maxCreateRevision
        return view.encoded()
      }
    }
  }
}

/// A key's new value.
public struct PutRequest: Sendable, Equatable {
  public var key: [UInt8]
  public var value: [UInt8]
  /// The lease to attach the key to; 0 = none.
  public var lease: Int64 = 0
  /// Whether the answer shall hold the pair as it was.
  public var prevKV = false
  /// Keeps the value and changes only the lease.
  public var ignoreValue = false
  /// Keeps the lease and changes only the value.
  public var ignoreLease = false

  public init(key: [UInt8], value: [UInt8]) {
    self.key = key
    self.value = value
  }

  package func encoded() -> [UInt8] {
    key.withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        var view = PutRequestView()
        view.key = key
        view.value = value
        view.lease = lease
        view.prevKV = prevKV
        view.ignoreValue = ignoreValue
        view.ignoreLease = ignoreLease
        return view.encoded()
      }
    }
  }
}

/// Which changes to be told of.
public struct WatchRequest: Sendable, Equatable {
  public var keys: KeyRange
  /// The first revision wanted; 0 = whatever comes next.
  public var startRevision: Int64 = 0
  /// Whether events shall hold the pairs as they were.
  public var prevKV = false
  /// Whether the server shall tell now and then how far it is when nothing happens.
  public var progressNotify = false
  public var skipsPuts = false
  public var skipsDeletes = false

  public init(_ keys: KeyRange) { self.keys = keys }

  /// A WatchRequest that creates the watch from `revision` on. Large responses may come in pieces.
  func encoded(from revision: Int64) -> [UInt8] {
    let (key, rangeEnd) = keys.bounds
    return key.withUnsafeBytes { key in
      rangeEnd.withUnsafeBytes { rangeEnd in
        var view = WatchCreateView()
        view.key = key
        view.rangeEnd = rangeEnd
        view.startRevision = revision
        view.progressNotify = progressNotify
        view.skipsPuts = skipsPuts
        view.skipsDeletes = skipsDeletes
        view.prevKV = prevKV
        view.fragment = true
        return WatchRequestView.create(view).encoded()
      }
    }
  }
}

/// Which keys to delete.
public struct DeleteRangeRequest: Sendable, Equatable {
  public var keys: KeyRange
  /// Whether the answer shall hold the pairs as they were.
  public var prevKV = false

  public init(_ keys: KeyRange) { self.keys = keys }

  package func encoded() -> [UInt8] {
    let (key, rangeEnd) = keys.bounds
    return key.withUnsafeBytes { key in
      rangeEnd.withUnsafeBytes { rangeEnd in
        var view = DeleteRangeRequestView()
        view.key = key
        view.rangeEnd = rangeEnd
        view.prevKV = prevKV
        return view.encoded()
      }
    }
  }
}
