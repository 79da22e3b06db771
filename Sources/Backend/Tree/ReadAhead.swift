// What a scan asks of the disk ahead, in a file that does not stay in memory.
//
// The kernel reads single pages of such a file (`FilePageStore.adviseReads`): it could only guess what comes next, by where
// pages lie in the file. The branch above the leaves knows. So a scan that goes from one leaf to the next asks for the
// leaves behind it, four to begin with and twice as many whenever a quarter of them is left: the disk reads them side by
// side, the scan waits for few of them, and one that ends soon has not read many in vain.

struct ReadAhead {
  private static let windowMax = 64

  /// The branch whose children were asked for, and the first that was not, counted in the scan's direction.
  private var branch: UnsafeRawPointer?
  private var end = 0
  private var isForward = true
  /// How many were asked for last.
  private var window = 2

  /// Children of `branch` to ask for, now that a scan is about to enter child `index`; nil where it is too soon.
  mutating func next(at index: Int, of branch: BranchPage, isForward: Bool) -> ClosedRange<Int>? {
    let last = branch.count
    let position = isForward ? index : last - index
    if branch.page != self.branch || isForward != self.isForward || end < position {
      self.branch = branch.page
      self.isForward = isForward
      end = position
    }
    guard end <= last, 4 * (end - position) <= window else { return nil }
    window = min(2 * window, Self.windowMax)
    let first = end
    end = min(first + window, last + 1)
    return isForward ? first...end - 1 : last - end + 1...last - first
  }

  /// One call for children that lie side by side in the file.
  static func ask(_ source: PageSource, _ branch: BranchPage, _ children: ClosedRange<Int>) {
    var first = branch.child(children.lowerBound)
    var count = 1
    for i in children.dropFirst() {
      let id = branch.child(i)
      if Int(id) == Int(first) + count {
        count += 1
      } else {
        source.readSoon(first, count: count)
        (first, count) = (id, 1)
      }
    }
    source.readSoon(first, count: count)
  }
}
