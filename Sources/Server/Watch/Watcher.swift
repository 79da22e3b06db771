// A watcher and the stream that it is on, as the hub keeps them. The hub's thread alone touches them.
import NeedletailRPC

/// Sendable as a name: the catch-up thread carries it, and gives it back untouched.
final class Watcher: WatchMember, @unchecked Sendable {
  enum State {
    /// In the hub's index: gets what happens from now on.
    case synced
    /// Waits for a reading of the past, or is being read for.
    case queued, reading
    /// Waits for its stream's client to take what it was sent.
    case parked
    case gone
  }

  unowned let stream: WatchStream
  let id: Int64
  let wantsFragments: Bool
  let wantsProgress: Bool
  var state = State.queued
  /// Lagging: everything up to this revision was sent. Synced: nothing up to this revision is wanted, which matters where
  /// it lies ahead of the hub.
  var position: UInt64
  /// Whether it was sent anything since the last time that it could have been told of progress.
  var wasSentEvents = false

  init(_ stream: WatchStream, id: Int64, _ request: WatchCreate, position: UInt64) {
    self.stream = stream
    self.id = id
    wantsFragments = request.fragment
    wantsProgress = request.progressNotify
    self.position = position
    super.init(request.interest)
  }
}

/// A WatchCreateRequest that owns its bytes.
struct WatchCreate: Sendable {
  var interest: WatchInterest
  var startRevision: Int64
  var watchID: Int64
  var progressNotify: Bool
  var fragment: Bool

  init(_ view: WatchCreateView) {
    interest = WatchInterest(
      keys: WatchedKeys(key: view.key, rangeEnd: view.rangeEnd), skipsPuts: view.skipsPuts,
      skipsDeletes: view.skipsDeletes, withPrevious: view.prevKV)
    startRevision = view.startRevision
    watchID = view.watchID
    progressNotify = view.progressNotify
    fragment = view.fragment
  }
}

final class WatchStream {
  let face: ResponseStream
  var watchers: [Int64: Watcher] = [:]
  var nextID: Int64 = 0
  /// Bytes posted, ever.
  var postedBytes = 0
  var isPaused = false
  var parked: [Watcher] = []
  /// Watchers that are not synced.
  var laggingCount = 0
  /// Requests looked at that the face has not been told of.
  var requestsTaken: Int32 = 0
  /// A request for progress: to be answered once all is sent up to this revision.
  var progressWanted: UInt64?
  /// Watchers that want to hear of progress, and when it is time again.
  var notifiedCount = 0
  var notify_ns: UInt64 = 0

  init(_ face: ResponseStream) { self.face = face }

  var outstandingBytes: Int { postedBytes - face.takenBytes }
}
