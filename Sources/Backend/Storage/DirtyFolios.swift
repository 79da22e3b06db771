// Which of the page cache's large folios are dirty all but wholly, so that pages may be stored into them through a mapping.
//
// ext4 visits each of a folio's 512 buffer heads twice in every write call into it, however few pages the call writes:
// several times the cost of copying a page. A store through a mapping costs a copy. But the kernel cannot tell which of the
// folio's pages it changed, and writes all 2 MiB back: for a page here and there 512 times the bytes. Hence a rule for each
// folio by itself: pages go there by calls until a quarter of it was written since the last sync, and through the mapping
// from then on. So a sync writes at most four times what was published, and as a rule far less, because what
// filled a quarter fills the rest soon (what the kernel writes back by itself between two syncs is not counted). A folio
// that the file has just grown by is dirty as a whole to begin with.
//
// The visits until a quarter was written took a sixth of the benchmark's 100 batches of random overwrites. So where the
// last sync found the folios that took pages at least half written, a thirty-second part is enough until the next one: what
// was written densely is likely to be written so again. Where it is not, one sync may write 32 times what was published,
// and the next needs a quarter again.

/// Used by the writer only.
struct DirtyFolios {
  private struct Folio {
    /// Written since the last sync, in calls and stores.
    var bytes: UInt32 = 0
    /// The file has grown by it since then.
    var isNew = false
  }

  private var folios: [Folio] = []
  private var syncs: UInt64 = 0
  /// Bytes from which on a folio is dense.
  private(set) var threshold = Self.quarter

  static let size: UInt32 = 2 << 20
  static let quarter = size / 4
  static let thirtySecond = size / 32

  /// There were `syncs` of them so far; one more than before leaves all folios clean.
  mutating func noteSyncs(_ syncs: UInt64) {
    guard syncs != self.syncs, !mutant(.folioDirtyAfterSync) else { return }
    self.syncs = syncs
    threshold = nextThreshold()
    folios.removeAll(keepingCapacity: true)
  }

  private func nextThreshold() -> UInt32 {
    var count: UInt64 = 0
    var bytes: UInt64 = 0
    for folio in folios where folio.bytes > 0 && (folio.isNew || folio.bytes >= threshold) {
      count += 1
      bytes += UInt64(min(folio.bytes, Self.size))
    }
    // Without any there is nothing to learn: nothing was written in vain.
    if count == 0 { return threshold }
    return 2 * bytes >= count * UInt64(Self.size) ? Self.thirtySecond : Self.quarter
  }

  func isDense(_ folio: Int) -> Bool {
    folio < folios.count && (folios[folio].isNew || folios[folio].bytes >= threshold)
  }

  /// `bytes` bytes of the folio were published.
  mutating func add(_ bytes: UInt64, to folio: Int) {
    reserve(folio)
    folios[folio].bytes = UInt32(clamping: UInt64(folios[folio].bytes) + bytes)
  }

  /// All of the folio was written, and the file ended before it.
  mutating func fill(_ folio: Int) {
    reserve(folio)
    folios[folio].isNew = true
  }

  private mutating func reserve(_ folio: Int) {
    guard folio >= folios.count else { return }
    folios.append(contentsOf: repeatElement(Folio(), count: max(folio + 1 - folios.count, folios.count / 2)))
  }
}
