// Observers of elections: each is told who leads, and every change of that, as fast as its client takes it and no faster.
//
// An observer knows the first revision that it has not seen. One whose client does not read stops watching there, and goes
// on from there when the client has taken most of what it was sent; what is compacted meanwhile is passed over.
import NeedletailMVCC
import NeedletailRPC

extension RecipeThread {
  func observe(_ name: [UInt8], _ stream: ResponseStream) {
    delivery(for: stream).addTaken(stream, requests: 1)
    let observer = LeaderObserver(stream, name: name)
    observers[ObjectIdentifier(stream)] = observer
    look(observer)
  }

  /// Tells who leads now, and follows.
  func look(_ observer: LeaderObserver) {
    do throws(StatusError) {
      try withView { (view) throws(StatusError) in
        let oldest = try pairs(view, observer.prefix, observer.prefixEnd) { query in
          query.target = .createRevision
          query.order = .ascend
          query.limit = 1
        }
        observer.leader = oldest.first?.key
        observer.next = view.word(StoreWord.revision) + 1
        if let pair = oldest.first { tell(observer, header(view), pair) }
      }
      follow(observer)
    } catch {
      end(observer, error)
    }
  }

  /// Watches the leader, or for anybody who becomes it, from the first revision not seen.
  func follow(_ observer: LeaderObserver) {
    if isOverBudget(observer) { return }
    let after = observer.next - 1
    if let leader = observer.leader {
      observer.watch = watch(leader, after: after, for: .observer(observer))
    } else {
      observer.watch = watch(
        observer.prefix, observer.prefixEnd, after: after, skipsDeletes: true, for: .observer(observer))
    }
  }

  func take(_ response: WatchResponse, _ observer: LeaderObserver) {
    guard observer.leader != nil else { return begin(observer, response) }
    for event in response.events {
      observer.next = UInt64(clamping: event.kv.modRevision) + 1
      if event.kind == .delete {
        unwatch(&observer.watch)
        return look(observer)
      }
      tell(observer, response.header, event.kv)
    }
    if isOverBudget(observer) { unwatch(&observer.watch) }
  }

  /// Nobody led: the first who comes does.
  private func begin(_ observer: LeaderObserver, _ response: WatchResponse) {
    guard let first = response.events.first(where: { $0.kind == .put })?.kv else { return }
    unwatch(&observer.watch)
    var header = response.header
    header.revision = first.modRevision
    observer.leader = first.key
    observer.next = UInt64(clamping: first.modRevision) + 1
    tell(observer, header, first)
    follow(observer)
  }

  private func tell(_ observer: LeaderObserver, _ header: ResponseHeader, _ pair: KeyValue) {
    var response = LeaderResponse()
    response.header = header
    response.kv = pair
    observer.postedBytes += delivery(for: observer.stream).add(observer.stream) { response.encode(to: &$0) }
  }

  /// Whether the observer's client must read first; then its face says when it has.
  private func isOverBudget(_ observer: LeaderObserver) -> Bool {
    guard observer.outstandingBytes >= LeaderObserver.budget else { return false }
    observer.stream.pause()
    // Taken between the look and the mark: nobody would tell.
    if observer.outstandingBytes < LeaderObserver.budget {
      observer.stream.resume()
      return false
    }
    observer.isPaused = true
    return true
  }

  func drained(_ stream: ResponseStream) {
    guard let observer = observers[ObjectIdentifier(stream)], observer.isPaused,
      observer.outstandingBytes <= LeaderObserver.budget / 2
    else { return }
    observer.isPaused = false
    stream.resume()
    follow(observer)
  }

  /// Its client wants no more.
  func closed(_ stream: ResponseStream) {
    guard let observer = observers.removeValue(forKey: ObjectIdentifier(stream)) else { return }
    unwatch(&observer.watch)
  }

  func end(_ observer: LeaderObserver, _ why: StatusError) {
    guard observers.removeValue(forKey: ObjectIdentifier(observer.stream)) != nil else { return }
    unwatch(&observer.watch)
    let error = why.asRecipe
    delivery(for: observer.stream).addEnd(observer.stream, error.code, error.message)
  }
}
