// What --version prints. Scripts cut etcd's version from the line that begins with "etcd Version: ".
import NeedletailServer

enum Versions {
  static func text(startedAs program: String) -> String {
    let own = "Needletail Version: \(Version.program)\n"
    let compatible = "etcd Version: \(Version.compatible)\n"
    let isEtcd = program.split(separator: "/").last == "etcd"
    return (isEtcd ? compatible + own : own + compatible) + "OS/Arch: linux/\(architecture)\n"
  }

  private static var architecture: String {
    #if arch(x86_64)
      "amd64"
    #elseif arch(arm64)
      "arm64"
    #else
      "unknown"
    #endif
  }
}
