// What a snapshot's header says of the server's store, from the user words that it carries.
import NeedletailMVCC
import NeedletailSnapshot

package enum StoreFields {
  /// All zero where the words are not those of a store.
  package static func describe(_ words: [UInt64]) -> StoreInformation {
    var store = StoreInformation()
    guard words.count > StoreWord.format, words[StoreWord.format] != 0 else { return store }
    store.clusterID = words[StoreWord.clusterID]
    store.memberID = words[StoreWord.memberID]
    store.revision = words[StoreWord.revision]
    store.compactedRevision = words[StoreWord.compactedRevision]
    store.index = words[StoreWord.appliedIndex]
    store.term = words[StoreWord.appliedTerm]
    return store
  }
}
