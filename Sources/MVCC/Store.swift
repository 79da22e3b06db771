// The versioned store over the tree: names of its trees, meaning of the user words, and how it is opened.
// The one idea: the index *is* the tree, and the latest version of a key lies in the index. See docs/format.md.
import NeedletailBackend
import NeedletailBytes

/// User words of a snapshot: committed together with the data they describe.
package enum StoreWord {
  package static let appliedIndex = 0
  package static let appliedTerm = 1
  package static let revision = 2
  package static let compactedRevision = 3
  package static let clusterID = 4
  package static let memberID = 5
  package static let format = 6
  /// The compacted revision up to which what it gave up has been removed; behind word 3 while removal goes on.
  package static let removedRevision = 7
}

/// Who this store belongs to; given when it is made and kept for ever.
package struct StoreIdentity: Equatable, Sendable {
  package var clusterID: UInt64
  package var memberID: UInt64

  package init(clusterID: UInt64, memberID: UInt64) {
    self.clusterID = clusterID
    self.memberID = memberID
  }
}

/// Immutable once opened: any thread may read through it with a view of its own. Edits go through `StoreWriter`.
package final class Store: Sendable {
  package static let format: UInt64 = 1
  /// A fresh store is at revision 1, as etcd's: the first change gets 2.
  package static let firstRevision: UInt64 = 1

  package let database: Database
  package let identity: StoreIdentity
  package let current: TreeID
  package let graveyard: TreeID
  package let log: TreeID
  package let lease: TreeID
  /// Alarms, and what else the words have no room for; see `MetaName`.
  package let meta: TreeID
  /// Longest user key: `current` and `graveyard` hold it as their own key.
  package let keyLimit: Int
  /// Bound of one answer in bytes.
  package let answerLimit: Int
  /// Bound of what `range` appends at once.
  package let inlineLimit: Int
  package let sortBudget: SortBudget
  let header: AnswerHeader

  private typealias Trees = (TreeID, TreeID, TreeID, TreeID, TreeID)

  private init(
    database: Database, identity: StoreIdentity, trees: Trees, answerLimit: Int, inlineLimit: Int, sortLimit: Int
  ) {
    sortBudget = SortBudget(bytesMax: sortLimit)
    self.database = database
    self.identity = identity
    (current, graveyard, log, lease, meta) = trees
    keyLimit = database.maxKeyLength
    self.answerLimit = answerLimit
    self.inlineLimit = inlineLimit
    header = AnswerHeader(identity)
  }

  /// Opens the store in `database`, or makes it there with the identity given. A store of another format or another
  /// identity is refused.
  package static func open(
    _ database: Database, identity: StoreIdentity, answerLimit: Int = 1 << 30, inlineLimit: Int = .max,
    sortLimit: Int = 512 << 20
  ) throws(MVCCError) -> Store {
    let trees: Trees
    do {
      trees = try database.write { batch in
        let format = batch.word(StoreWord.format)
        guard format == 0 || format == Store.format else { throw MVCCError.unknownFormat(format) }
        if format == 0 {
          batch.setWord(StoreWord.format, Store.format)
          batch.setWord(StoreWord.revision, Store.firstRevision)
          batch.setWord(StoreWord.clusterID, identity.clusterID)
          batch.setWord(StoreWord.memberID, identity.memberID)
        }
        let found = StoreIdentity(
          clusterID: batch.word(StoreWord.clusterID), memberID: batch.word(StoreWord.memberID))
        guard found == identity else {
          throw MVCCError.corrupt("the tree belongs to member \(found.memberID), not to \(identity.memberID)")
        }
        return (
          try batch.openTree("current"), try batch.openTree("graveyard"), try batch.openTree("log"),
          try batch.openTree("lease"), try batch.openTree("meta")
        )
      }
    } catch let error as MVCCError {
      throw error
    } catch let error as DatabaseError {
      throw .storage(error)
    } catch {
      throw .corrupt("opening: \(error)")
    }
    return Store(
      database: database, identity: identity, trees: trees, answerLimit: answerLimit, inlineLimit: inlineLimit,
      sortLimit: sortLimit)
  }
}

extension TreeView {
  @inline(__always)
  func find(_ key: UnsafeRawBufferPointer) throws(MVCCError) -> UnsafeRawBufferPointer? {
    do { return try get(key) } catch { throw .storage(error) }
  }

  /// Entries before `key`. O(log n).
  func position(of key: UnsafeRawBufferPointer) throws(MVCCError) -> UInt64 {
    do { return try rank(key) } catch { throw .storage(error) }
  }
}

extension Cursor {
  mutating func move(to key: UnsafeRawBufferPointer) throws(MVCCError) -> Bool {
    do { return try seek(key) } catch { throw .storage(error) }
  }

  mutating func step() throws(MVCCError) -> Bool {
    do { return try next() } catch { throw .storage(error) }
  }

  /// The key it stands on; valid until the next move.
  var name: UnsafeRawBufferPointer {
    mutating get throws(MVCCError) { do { return try key } catch { throw .storage(error) } }
  }

  /// The value it stands on.
  var record: UnsafeRawBufferPointer {
    get throws(MVCCError) { do { return try value } catch { throw .storage(error) } }
  }
}
