// Lookups of whole trees, one key or many, in as few instructions as we know how. They answer where everything is as it
// mostly is: a published tree, pages that were looked at before, one key with that head, a value inside its page. Whatever
// else they meet they leave to `TreeView.getChecked`, which goes the same way again, slower, and knows every error.
//
// Every read is inside the mapping whatever the pages hold: a reference is compared with the file's size, a page is the one
// it was referred to as and was found intact at its first read, and counts and offsets are compared with the page's size
// before they are used.

import CNeedletail

/// What a quick lookup found: a value, none, or a reason to look again with care.
struct QuickAnswer {
  let start: UnsafeRawPointer?
  /// Of the value; or one of the three below.
  let count: Int

  static var missing: Int { -1 }
  static var unusual: Int { -2 }
  /// The value has pages of its own: `start` is the reference to them.
  static var elsewhere: Int { -3 }
  @inline(__always) init(_ start: UnsafeRawPointer, _ count: Int) { (self.start, self.count) = (start, count) }
  @inline(__always) init(_ count: Int) { (start, self.count) = (nil, count) }
}

extension TreeView {
  // MARK: One key

  /// Does not throw on purpose: a function that can build errors spills registers to do so.
  @inline(never) func quickGet(_ key: UnsafeRawPointer, _ length: Int) -> QuickAnswer {
    guard _fastPath(prefixLength >= 0) else { return QuickAnswer(QuickAnswer.unusual) }
    guard beginsWithPrefix(key, length) else { return QuickAnswer(QuickAnswer.missing) }
    var id = root.page
    var level = Int(truncatingIfNeeded: root.level)
    var page = source.address(id)
    while true {
      guard _fastPath(isUsual(page, id, level: level)) else { return QuickAnswer(QuickAnswer.unusual) }
      if level == 0 { break }
      let branch = BranchPage(page)
      guard _fastPath(branch.isSearchable(pageSize: source.pageSize) && branch.prefixLength <= length) else {
        return QuickAnswer(QuickAnswer.unusual)
      }
      id = branch.child(branch.childIndex(key, length, pageSize: source.pageSize))
      level &-= 1
      guard _fastPath(id < source.limit) else { return QuickAnswer(QuickAnswer.unusual) }
      page = source.address(id)
      prefetchPage(page, level: level)
    }
    let place = find(in: LeafPage(page), key, length)
    if place.record < 0 { return QuickAnswer(place.record) }
    // The value's lines come together with the record's first, whose lengths say where the value ends.
    LeafPage(page).prefetchRecord(place.record)
    return value(at: place, key, length)
  }

  // MARK: Many keys

  /// Lookups whose cache misses are waited for together: enough to keep the processor's miss buffers full.
  private static var inFlight: Int { 16 }

  /// The values of `keys`, in their order, nil for keys that are not there; `values` has room for as many. As many calls
  /// of `get`, but the misses of up to 16 lookups overlap: all take one step at a time (a branch's samples, its block, the
  /// leaf's heads, the record), and every step ends by fetching what the next will read.
  package func get(
    _ keys: UnsafeBufferPointer<UnsafeRawBufferPointer>,
    into values: UnsafeMutablePointer<UnsafeRawBufferPointer?>
  ) throws(DatabaseError) {
    try withUnsafeTemporaryAllocation(of: Flight.self, capacity: Self.inFlight) { (flights) throws(DatabaseError) in
      guard let flights = flights.baseAddress else { return }
      // Then the misses that are waited for together are the disk's.
      let isLarge = source.isLargerThanMemory
      var start = 0
      while start < keys.count {
        let count = min(keys.count &- start, Self.inFlight)
        for i in 0..<count { depart(keys[start &+ i], flights + i) }
        var level = Int(truncatingIfNeeded: root.level)
        while level > 0 {
          for i in 0..<count { findBlock(flights + i, level: level) }
          level &-= 1
          for i in 0..<count { findChild(flights + i, level: level) }
        }
        if isLarge { for i in 0..<count where flights[i].end == 0 { source.readSoon(flights[i].id, count: 1) } }
        for i in 0..<count { findRecord(flights + i) }
        for i in 0..<count { values[start &+ i] = try arrive(flights + i, keys[start &+ i]) }
        start &+= count
      }
    }
  }

  /// A lookup on its way down.
  private struct Flight {
    var key: UnsafeRawPointer
    var length: Int
    var page: UnsafeRawPointer
    var id: PageID
    /// 0: on its way. Else `QuickAnswer.missing` or `.unusual`.
    var end: Int32
    /// The key's head in the page; in the end the length of its rest.
    var target: UInt64
    /// The block of a branch that the key's child is in; in the end where its record is.
    var index: Int
  }

  @inline(__always) private func depart(_ key: UnsafeRawBufferPointer, _ flight: UnsafeMutablePointer<Flight>) {
    let bytes = key.baseAddress ?? source.base
    var end = 0
    if prefixLength < 0 {
      end = QuickAnswer.unusual
    } else if key.count == 0 || !beginsWithPrefix(bytes, key.count) {
      end = QuickAnswer.missing
    }
    flight.initialize(
      to: Flight(
        key: bytes, length: key.count, page: source.address(root.page), id: root.page,
        end: Int32(truncatingIfNeeded: end), target: 0, index: 0))
  }

  @inline(__always) private func findBlock(_ flight: UnsafeMutablePointer<Flight>, level: Int) {
    guard flight.pointee.end == 0 else { return }
    let page = flight.pointee.page
    let branch = BranchPage(page)
    guard
      _fastPath(
        isUsual(page, flight.pointee.id, level: level) && branch.isSearchable(pageSize: source.pageSize)
          && branch.prefixLength <= flight.pointee.length)
    else {
      flight.pointee.end = Int32(truncatingIfNeeded: QuickAnswer.unusual)
      return
    }
    let target = keyHead(flight.pointee.key, branch.prefixLength, flight.pointee.length)
    flight.pointee.target = target
    flight.pointee.index = branch.findBlock(target, count: branch.count)
  }

  @inline(__always) private func findChild(_ flight: UnsafeMutablePointer<Flight>, level: Int) {
    guard flight.pointee.end == 0 else { return }
    let branch = BranchPage(flight.pointee.page)
    let index = branch.childIndex(
      inBlock: flight.pointee.index, flight.pointee.target, flight.pointee.key, flight.pointee.length,
      count: branch.count, pageSize: source.pageSize)
    let child = branch.child(index)
    guard _fastPath(child < source.limit) else {
      flight.pointee.end = Int32(truncatingIfNeeded: QuickAnswer.unusual)
      return
    }
    let page = source.address(child)
    flight.pointee.id = child
    flight.pointee.page = page
    prefetchPage(page, level: level)
  }

  @inline(__always) private func findRecord(_ flight: UnsafeMutablePointer<Flight>) {
    guard flight.pointee.end == 0 else { return }
    let page = flight.pointee.page
    guard _fastPath(isUsual(page, flight.pointee.id, level: 0)) else {
      flight.pointee.end = Int32(truncatingIfNeeded: QuickAnswer.unusual)
      return
    }
    let place = find(in: LeafPage(page), flight.pointee.key, flight.pointee.length)
    if place.record < 0 {
      flight.pointee.end = Int32(truncatingIfNeeded: place.record)
      return
    }
    nt_prefetch(page + place.record)
    flight.pointee.index = place.record
    flight.pointee.target = UInt64(truncatingIfNeeded: place.rest)
  }

  @inline(__always) private func arrive(
    _ flight: UnsafeMutablePointer<Flight>, _ key: UnsafeRawBufferPointer
  ) throws(DatabaseError) -> UnsafeRawBufferPointer? {
    if flight.pointee.end == 0 {
      let place = Place(
        page: flight.pointee.page, record: flight.pointee.index, rest: Int(truncatingIfNeeded: flight.pointee.target))
      let answer = value(at: place, flight.pointee.key, flight.pointee.length)
      if _fastPath(answer.count >= 0) { return UnsafeRawBufferPointer(start: answer.start, count: answer.count) }
      return try rest(of: answer, key)
    } else if Int(flight.pointee.end) == QuickAnswer.missing {
      return nil
    }
    return try getChecked(key)
  }

  // MARK: Steps of both

  @inline(__always) private func beginsWithPrefix(_ key: UnsafeRawPointer, _ length: Int) -> Bool {
    prefixLength <= length && equalBytes(prefix, key, prefixLength)
  }

  /// Header, heads and slots of a leaf; header and samples of a branch.
  @inline(__always) private func prefetchPage(_ page: UnsafeRawPointer, level: Int) {
    nt_prefetch(page)
    nt_prefetch(page + 64)
    if level == 0 { nt_prefetch(page + 128) }
  }

  /// The page is the one its parent means, and was found intact before.
  @inline(__always) private func isUsual(_ page: UnsafeRawPointer, _ id: PageID, level: Int) -> Bool {
    let header = PageHeader(page)
    return header.id == id && header.kind == PageHeader.kind(level: level) && source.isVerified(id)
  }

  /// Where in a leaf a key's record begins, and how many bytes the key has past the page's prefix.
  private struct Place {
    let page: UnsafeRawPointer
    /// Never 0, where the header is; negative: there is none, or a reason to look again with care.
    let record: Int
    let rest: Int
  }

  /// The record whose head is the key's.
  @inline(__always) private func find(in leaf: LeafPage, _ key: UnsafeRawPointer, _ length: Int) -> Place {
    let n = leaf.count
    let prefix = leaf.prefixLength
    guard _fastPath(leaf.isWellFormed(pageSize: source.pageSize) && prefix <= length) else {
      return Place(page: leaf.page, record: QuickAnswer.unusual, rest: 0)
    }
    let target = keyHead(key, prefix, length)
    let index = leaf.lowerBound(head: target, count: n)
    guard index < n, leaf.head(index) == target else {
      return Place(page: leaf.page, record: QuickAnswer.missing, rest: 0)
    }
    let record = leaf.recordOffset(index, count: n)
    guard _fastPath(record >= headerSize && record <= source.pageSize &- 4) else {
      return Place(page: leaf.page, record: QuickAnswer.unusual, rest: 0)
    }
    return Place(page: leaf.page, record: record, rest: length &- prefix)
  }

  /// The value of a record whose head is the key's, or the reference to it; unusual where another key has that head.
  @inline(__always) private func value(at place: Place, _ key: UnsafeRawPointer, _ length: Int) -> QuickAnswer {
    let entry = place.page + place.record
    let rest = place.rest
    let tail = rest > 8 ? rest &- 8 : 0
    let field = entry.u16(2)
    let isElsewhere = field & overflowFlag != 0
    let stored = isElsewhere ? overflowReferenceSize : field
    guard _fastPath(entry.u16(0) == rest && place.record &+ 4 &+ tail &+ stored <= source.pageSize)
    else { return QuickAnswer(QuickAnswer.unusual) }
    if tail > 0, !equalBytes(key + (length &- tail), entry + 4, tail) { return QuickAnswer(QuickAnswer.unusual) }
    return QuickAnswer(entry + 4 + tail, isElsewhere ? QuickAnswer.elsewhere : field)
  }
}
