// snapshot restore: a server's data directory of a snapshot file.

import NeedletailServer
import NeedletailSnapshot

extension Command {
  static let snapshotRestore = Command(
    words: ["snapshot", "restore"], usage: "FILE", summary: "Restores a snapshot to a server's data directory",
    details: """
      The directory must not exist, or be empty; it gets its name when the whole snapshot was verified and all is on disk.
      Keys, their history and revisions are the snapshot's. Member and cluster get new ids and the log begins anew: the
      restored server is a cluster of its own. Start it with needletail --data-dir DIR. A restore that is killed leaves
      DIR.restoring-…, which can be removed.
      """,
    flags: [
      Flag("data-dir", value: "DIR", "the directory to make (./NAME.needletail)"),
      Flag("name", value: "NAME", "this member's name (default)"),
      Flag("initial-cluster", value: "LIST", "accepted, without effect: this server has no peers yet"),
      Flag("initial-cluster-token", value: "TOKEN", "accepted, without effect: this server has no peers yet"),
      Flag("initial-advertise-peer-urls", value: "LIST", "accepted, without effect: this server has no peers yet"),
    ]
  ) { line throws(Failure) in
    let path = try SnapshotCommand.file(line, "restore")
    let name = line.text("name") ?? "default"
    guard !name.isEmpty, !name.contains("/") else { throw Failure.message("--name must be a plain word") }
    let directory = line.text("data-dir") ?? "./\(name).needletail"
    guard !directory.isEmpty else { throw Failure.message("--data-dir must not be empty") }
    var bar = SnapshotBar("read")
    let header: SnapshotHeader
    do throws(ServerError) {
      header = try SnapshotRestore.run(path, to: directory) { progress in
        bar.show(progress)
        return true
      }
    } catch {
      bar.end()
      throw Failure.message("\(error)")
    }
    bar.end()
    StandardOutput.write("Snapshot of revision \(header.store.revision) restored to \(directory)\n")
  }
}
