// Which pages of the file hold what: the allocator, and the bitmaps that a checkpoint persists.
//
// A page is in one of three states:
//   live      reachable from the published snapshot                          (bit in `live`)
//   pending   no longer reachable, but a reader or a checkpoint may need it  (in no bitmap; the reclaimer holds it)
//   reusable  free                                                           (bit in `reusable`)
// Meta pages and the bitmap pages themselves are in none.
//
// The file is divided into groups of as many pages as one bitmap page has bits; each begins with two bitmap pages, one
// per meta slot (group 0: behind the meta pages). So the areas grow with the file, and no free list frees itself.

/// Used by the writer only, under the database's writer lock.
struct FreeSpace {
  let geometry: PageGeometry
  private(set) var pages: Int
  private(set) var live = Bitmap()
  private var reusable = Bitmap()
  /// Groups whose `live` bits changed since each area was last written.
  private(set) var changedGroups: [[Bool]] = [[], []]
  private(set) var livePages = 0
  private(set) var reusablePages = 0
  /// Pages from here on are not given out: the file is to end here. As many as the file has, as a rule.
  private(set) var allowed = 0
  /// Reusable pages among those.
  private var forbiddenPages = 0
  var available: Int { reusablePages - forbiddenPages }

  init(geometry: PageGeometry, pages: Int) {
    self.geometry = geometry
    self.pages = 0
    extend(to: pages)
  }

  // MARK: Layout

  /// Bytes between the two meta pages: never less than 4 KiB, so that no sector or flash page holds both.
  static func metaStride(pageSize: Int) -> Int { max(4096, pageSize) }
  static func metaPages(pageSize: Int) -> Int { 2 * metaStride(pageSize: pageSize) / pageSize }
  static func groupPages(pageSize: Int) -> Int { (pageSize - headerSize) * 8 }

  var groupPages: Int { Self.groupPages(pageSize: geometry.pageSize) }
  var groups: Int { (pages + groupPages - 1) / groupPages }

  /// The page that holds group `group`'s bits in area `area`.
  static func bitmapPage(group: Int, area: Int, pageSize: Int) -> Int {
    group * groupPages(pageSize: pageSize) + (group == 0 ? metaPages(pageSize: pageSize) : 0) + area
  }

  private func isReserved(_ page: Int) -> Bool {
    let head = page % groupPages
    return head < 2 + (page < groupPages ? Self.metaPages(pageSize: geometry.pageSize) : 0)
  }

  /// Longest run of pages that one group can hold.
  static func runMax(pageSize: Int) -> Int {
    groupPages(pageSize: pageSize) - 2 - metaPages(pageSize: pageSize)
  }

  // MARK: Growing and loading

  /// Adds the pages of a grown file as reusable.
  mutating func extend(to newPages: Int) {
    guard newPages > pages else { return }
    live.grow(to: (newPages + 63) & ~63)
    reusable.grow(to: (newPages + 63) & ~63)
    let first = pages
    pages = newPages
    allowed = newPages
    forbiddenPages = 0
    for page in first..<newPages where !isReserved(page) {
      reusable.insert(page)
      reusablePages += 1
    }
    // A group a bitmap page has never been written for must be written, also when nothing in it lives.
    for area in 0...1 {
      let begun = groups - changedGroups[area].count
      changedGroups[area].append(contentsOf: repeatElement(!mutant(.changedGroupsStartEmpty), count: begun))
    }
  }

  /// Marks a page as live while the file's bitmap is read. False where it cannot be: reserved, or marked before.
  mutating func markLive(_ page: Int) -> Bool {
    guard page < pages, !isReserved(page), reusable.contains(page) else { return false }
    reusable.remove(page)
    reusablePages -= 1
    live.insert(page)
    livePages += 1
    return true
  }

  // MARK: Allocation

  /// Takes `count` pages, lowest first so that the file stays dense and runs stay long. Nil: there are not enough, and
  /// nothing was taken.
  mutating func allocate(_ count: Int) -> [PageID]? {
    guard count <= available else { return nil }
    var ids: [PageID] = []
    ids.reserveCapacity(count)
    var position = 0
    while ids.count < count, let page = reusable.first(from: position) {
      let run = reusable.runLength(from: page, limit: count - ids.count)
      for offset in 0..<run {
        reusable.remove(page + offset)
        ids.append(PageID(page + offset))
      }
      position = page + run
    }
    reusablePages -= count
    return ids
  }

  /// Takes `count` contiguous pages, or returns nil.
  mutating func allocateRun(_ count: Int) -> PageID? {
    guard count <= available else { return nil }
    var position = 0
    while let page = reusable.first(from: position), page + count <= allowed {
      let run = reusable.runLength(from: page, limit: count)
      if run == count {
        for offset in 0..<count { reusable.remove(page + offset) }
        reusablePages -= count
        return PageID(page)
      }
      position = page + run
    }
    return nil
  }

  /// Gives back pages that no snapshot has ever shown, or none shows any more.
  mutating func release(_ first: PageID, count: Int) {
    for page in Int(first)..<Int(first) + count {
      assert(!reusable.contains(page) && !live.contains(page) && !isReserved(page))
      reusable.insert(page)
      if page >= allowed { forbiddenPages += 1 }
    }
    reusablePages += count
  }

  // MARK: Shrinking

  func isLive(_ page: PageID) -> Bool { Int(page) < pages && live.contains(Int(page)) }

  /// Up to `max` pages that live at `start` or behind, ascending.
  func livePages(from start: Int, atMost max: Int) -> [PageID] {
    var ids: [PageID] = []
    var position = start
    while ids.count < max, let page = live.first(from: position) {
      ids.append(PageID(page))
      position = page + 1
    }
    return ids
  }

  /// From now on no page is given out from `end` on.
  mutating func forbid(from end: Int) {
    allowed = min(end, pages)
    forbiddenPages = 0
    var position = allowed
    while let page = reusable.first(from: position) {
      let run = reusable.runLength(from: page, limit: pages - page)
      forbiddenPages += run
      position = page + run
    }
  }

  /// All pages may be given out again; false where they might anyway.
  @discardableResult
  mutating func allowAll() -> Bool {
    guard allowed < pages else { return false }
    allowed = pages
    forbiddenPages = 0
    return true
  }

  /// The pages from `end` on, which are forbidden, are no longer there. False where one of them is not reusable, or they
  /// may be given out again.
  mutating func forget(from end: Int) -> Bool {
    guard allowed == end, end < pages else { return false }
    let reserved = (end..<pages).reduce(0) { $0 + (isReserved($1) ? 1 : 0) }
    guard forbiddenPages == pages - end - reserved || mutant(.endForgottenUnderReaders) else { return false }
    var position = end
    while let page = reusable.first(from: position) {
      reusable.remove(page)
      position = page + 1
    }
    reusablePages -= forbiddenPages
    forbiddenPages = 0
    pages = end
    for area in 0...1 { changedGroups[area].removeLast(changedGroups[area].count - groups) }
    return true
  }

  // MARK: What the published snapshot reaches

  mutating func becameLive(_ first: PageID, count: Int) {
    for page in Int(first)..<Int(first) + count {
      assert(!live.contains(page) && !reusable.contains(page))
      live.insert(page)
      touch(page)
    }
    livePages += count
  }

  mutating func becamePending(_ first: PageID, count: Int) {
    for page in Int(first)..<Int(first) + count {
      assert(live.contains(page))
      live.remove(page)
      touch(page)
    }
    livePages -= count
  }

  private mutating func touch(_ page: Int) {
    let group = page / groupPages
    changedGroups[0][group] = true
    changedGroups[1][group] = true
  }

  // MARK: Persisting

  /// The groups to write for a checkpoint into `area`, as bits of `live`; the area then counts as written. Called at a
  /// batch boundary, when `live` is exactly what the pinned snapshot reaches: pending pages are free to whoever opens
  /// the file, so none leaks.
  mutating func takeChangedGroups(area: Int) -> [(group: Int, words: [UInt64])] {
    var taken: [(group: Int, words: [UInt64])] = []
    for group in 0..<groups where changedGroups[area][group] {
      taken.append((group, words(of: group)))
      changedGroups[area][group] = false
      if mutant(.oneSetOfChangedGroups) { changedGroups[1 - area][group] = false }
    }
    return taken
  }

  func words(of group: Int) -> [UInt64] {
    let wordsPerGroup = groupPages / 64
    let first = group * wordsPerGroup
    let present = live.words(min(first, live.count / 64)..<min(first + wordsPerGroup, live.count / 64))
    return Array(present) + repeatElement(0, count: wordsPerGroup - present.count)
  }
}
