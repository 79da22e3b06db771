// Intervals of keys, and which of them cover a key: a treap ordered by where they begin, each node knowing the farthest end
// beneath it, so that subtrees that end too early are left out.
import NeedletailMVCC

struct IntervalTree {
  fileprivate final class Node {
    let interval: WatchedInterval
    let priority: UInt64
    var left: Node?
    var right: Node?
    /// The farthest end of the intervals here and beneath; nil: one of them has no end.
    var farthest: UnsafeRawBufferPointer?

    init(_ interval: WatchedInterval, _ priority: UInt64) {
      self.interval = interval
      self.priority = priority
      farthest = interval.keys.end
    }

    func update() {
      farthest = interval.keys.end
      if let left { extend(left.farthest) }
      if let right { extend(right.farthest) }
    }

    private func extend(_ end: UnsafeRawBufferPointer?) {
      guard let mine = farthest else { return }
      guard let end else {
        farthest = nil
        return
      }
      if WatchedKeys.compare(end, mine) > 0 { farthest = end }
    }
  }

  private var root: Node?
  /// The generator of priorities; what they are is no matter, that they are spread is.
  private var state: UInt64 = 0x9E37_79B9_7F4A_7C15

  /// The interval with exactly these keys. O(log n).
  mutating func findOrInsert(_ keys: WatchedKeys) -> WatchedInterval {
    var at = root
    while let node = at {
      let order = WatchedKeys.order(keys, node.interval.keys)
      if order == 0 { return node.interval }
      at = order < 0 ? node.left : node.right
    }
    let made = WatchedInterval(keys)
    root = IntervalTree.insert(Node(made, nextPriority()), root)
    return made
  }

  private mutating func nextPriority() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }

  private static func insert(_ node: Node, _ tree: Node?) -> Node {
    guard let tree else { return node }
    if WatchedKeys.order(node.interval.keys, tree.interval.keys) < 0 {
      let left = insert(node, tree.left)
      tree.left = left
      if left.priority > tree.priority {
        tree.left = left.right
        left.right = tree
        tree.update()
        left.update()
        return left
      }
    } else {
      let right = insert(node, tree.right)
      tree.right = right
      if right.priority > tree.priority {
        tree.right = right.left
        right.left = tree
        tree.update()
        right.update()
        return right
      }
    }
    tree.update()
    return tree
  }

  /// Takes out the interval with exactly these keys, if it is there. O(log n).
  mutating func remove(_ keys: WatchedKeys) { root = IntervalTree.remove(keys, root) }

  private static func remove(_ keys: WatchedKeys, _ tree: Node?) -> Node? {
    guard let tree else { return nil }
    let order = WatchedKeys.order(keys, tree.interval.keys)
    if order == 0 { return merge(tree.left, tree.right) }
    if order < 0 { tree.left = remove(keys, tree.left) } else { tree.right = remove(keys, tree.right) }
    tree.update()
    return tree
  }

  /// Everything in `a` lies before everything in `b`.
  private static func merge(_ a: Node?, _ b: Node?) -> Node? {
    guard let a else { return b }
    guard let b else { return a }
    if a.priority > b.priority {
      a.right = merge(a.right, b)
      a.update()
      return a
    }
    b.left = merge(a, b.left)
    b.update()
    return b
  }

  /// Calls `body` with each interval that `key` lies in. O(log n + those).
  func forEach(covering key: UnsafeRawBufferPointer, _ body: (WatchedInterval) -> Void) {
    IntervalTree.visit(root, key, body)
  }

  private static func visit(_ tree: Node?, _ key: UnsafeRawBufferPointer, _ body: (WatchedInterval) -> Void) {
    guard let tree else { return }
    if let farthest = tree.farthest, WatchedKeys.compare(farthest, key) <= 0 { return }
    visit(tree.left, key, body)
    let keys = tree.interval.keys
    guard WatchedKeys.compare(keys.begin, key) <= 0 else { return }
    if keys.end.map({ WatchedKeys.compare(key, $0) < 0 }) ?? true { body(tree.interval) }
    visit(tree.right, key, body)
  }

  /// All intervals.
  func forEach(_ body: (WatchedInterval) -> Void) { IntervalTree.visitAll(root, body) }

  private static func visitAll(_ tree: Node?, _ body: (WatchedInterval) -> Void) {
    guard let tree else { return }
    visitAll(tree.left, body)
    body(tree.interval)
    visitAll(tree.right, body)
  }
}
