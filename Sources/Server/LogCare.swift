// Looking after the write-ahead log of a stopped server: what it holds, and cutting it where it is corrupt, when an operator
// asks for that.
//
// The tree and the log overlap: entries up to the tree's applied index are in both. So what a corrupt log loses are the
// entries behind the damage that the tree has not applied. A log that was cut before the tree's index gets a marker that
// says that it goes on behind it, as after a snapshot.
import Glibc
import NeedletailBackend
import NeedletailMVCC
import NeedletailWAL

package struct LogFindings: Sendable {
  /// Nil where the log could not be read to its end.
  package var report: RecoveryReport?
  /// Why not.
  package var failure: WALError?
  /// Entries read, and the first and last of them.
  package var entries: UInt64 = 0
  package var first = LogMark()
  package var last = LogMark()
  /// The last entry that the tree's file holds.
  package var applied: LogMark

  /// The damage that a repair would cut away.
  package var corruption: WALCorruption? {
    if case .corrupt(let place)? = failure { place } else { nil }
  }

  /// Entries that a cut loses: those behind the damage that the tree has not. Nil: none.
  package var lost: ClosedRange<UInt64>? {
    guard let corruption else { return nil }
    let first = max(last.index, applied.index) + 1
    return first <= corruption.lastIndex ? first...corruption.lastIndex : nil
  }
}

/// Holds the data directory's lock until `close`.
package final class LogCare {
  private let directory: DataDirectory
  private let applied: LogMark
  private let options: WALOptions

  /// A directory that no server has ever used is refused, not made.
  package init(_ path: String) throws(ServerError) {
    guard access(path + "/member/identity", F_OK) == 0 else {
      throw .system(operation: "open", path: path + "/member/identity", code: errno)
    }
    directory = try DataDirectory(path)
    do throws(ServerError) {
      applied = try LogCare.applied(directory.databasePath)
    } catch {
      directory.close()
      throw error
    }
    var options = WALOptions()
    options.storeID = StoreID(high: directory.identity.clusterID, low: directory.identity.memberID)
    // Only what is asked for happens to the directory.
    options.background = false
    self.options = options
  }

  package func close() { directory.close() }

  private static func applied(_ path: String) throws(ServerError) -> LogMark {
    // A crash before the first checkpoint leaves no tree to speak of.
    guard access(path, F_OK) == 0 else { return LogMark() }
    var options = DatabaseOptions()
    options.readOnly = true
    options.create = false
    let database: Database
    do { database = try Database.open(path, options) } catch { throw .database(error) }
    defer { database.close() }
    let words = database.durableWords
    return LogMark(index: words[StoreWord.appliedIndex], term: words[StoreWord.appliedTerm])
  }

  /// Reads the whole log and changes nothing.
  package func look() -> LogFindings {
    var findings = LogFindings(applied: applied)
    do throws(WALError) {
      findings.report = try WAL.inspect(device: ReadOnlyLogDevice(directory.logPath), options: options) { record in
        guard case .entry(let index, let term, _) = record else { return }
        if findings.entries == 0 { findings.first = LogMark(index: index, term: term) }
        findings.entries += 1
        findings.last = LogMark(index: index, term: term)
      }
    } catch {
      findings.failure = error
    }
    return findings
  }

  /// Cuts a corrupt log where the damage is; entries behind it that the tree has not are lost. What is cut away stays in the
  /// log's directory under other names, which the report tells.
  package func cut() throws(ServerError) -> RecoveryReport {
    var options = options
    options.repairs = true
    let log: WAL
    do { log = try WAL.open(directory: directory.logPath, options: options) { _ in } } catch { throw .log(error) }
    defer { log.close() }
    let report = log.recovery
    guard report.last.index < applied.index else { return report }
    do {
      _ = try log.append(snapshot: applied)
      _ = try log.submit()
      _ = try log.reap(wait: true)
    } catch {
      throw .log(error)
    }
    return report
  }
}
