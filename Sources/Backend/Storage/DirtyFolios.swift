// Which of the page cache's large folios are dirty all but wholly, so that pages may be stored into them through a mapping.
//
// ext4 visits each of a folio's 512 buffer heads twice in every write call into it, however few pages the call writes:
// several times the cost of copying a page. A store through a mapping costs a copy. But the kernel cannot tell which of the
// folio's pages it changed, and writes all 2 MiB back: for a page here and there 512 times the bytes. Hence a rule for each
// folio by itself: pages go there by calls until a quarter of it was written since the last sync, and through the mapping
// from then on. So a sync writes at most four times what was published, and as a rule far less, because what
// filled a quarter fills the rest soon (what the kernel writes back by itself between two syncs is not counted). A folio
// that the file has just grown by is dirty as a whole to begin with.

/// Used by the writer only.
struct DirtyFolios {
  /// Bytes written to each folio by calls since the last sync.
  private var written: [UInt32] = []
  private var syncs: UInt64 = 0

  static let dense: UInt32 = 512 << 10

  /// There were `syncs` of them so far; one more than before leaves all folios clean.
  mutating func noteSyncs(_ syncs: UInt64) {
    guard syncs != self.syncs, !mutant(.folioDirtyAfterSync) else { return }
    self.syncs = syncs
    written.removeAll(keepingCapacity: true)
  }

  func isDense(_ folio: Int) -> Bool { folio < written.count && written[folio] >= Self.dense }

  /// `bytes` bytes of the folio were written by a call.
  mutating func add(_ bytes: UInt64, to folio: Int) {
    reserve(folio)
    written[folio] = UInt32(clamping: UInt64(written[folio]) + bytes)
  }

  /// All of the folio was written.
  mutating func fill(_ folio: Int) {
    reserve(folio)
    written[folio] = .max
  }

  private mutating func reserve(_ folio: Int) {
    guard folio >= written.count else { return }
    written.append(contentsOf: repeatElement(0, count: max(folio + 1 - written.count, written.count / 2)))
  }
}
