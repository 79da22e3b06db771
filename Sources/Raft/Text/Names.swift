// etcd's names, which its scripts and its users know.

extension MessageType: CustomStringConvertible {
  package var description: String {
    switch self {
    case .hup: "MsgHup"
    case .beat: "MsgBeat"
    case .propose: "MsgProp"
    case .append: "MsgApp"
    case .appendResponse: "MsgAppResp"
    case .vote: "MsgVote"
    case .voteResponse: "MsgVoteResp"
    case .snapshot: "MsgSnap"
    case .heartbeat: "MsgHeartbeat"
    case .heartbeatResponse: "MsgHeartbeatResp"
    case .unreachable: "MsgUnreachable"
    case .snapshotStatus: "MsgSnapStatus"
    case .checkQuorum: "MsgCheckQuorum"
    case .transferLeader: "MsgTransferLeader"
    case .timeoutNow: "MsgTimeoutNow"
    case .readIndex: "MsgReadIndex"
    case .readIndexResponse: "MsgReadIndexResp"
    case .preVote: "MsgPreVote"
    case .preVoteResponse: "MsgPreVoteResp"
    case .storageAppend: "MsgStorageAppend"
    case .storageAppendResponse: "MsgStorageAppendResp"
    case .storageApply: "MsgStorageApply"
    case .storageApplyResponse: "MsgStorageApplyResp"
    case .forgetLeader: "MsgForgetLeader"
    }
  }
}

extension EntryKind: CustomStringConvertible {
  package var description: String {
    switch self {
    case .normal: "EntryNormal"
    case .configChange: "EntryConfChange"
    case .configChangeV2: "EntryConfChangeV2"
    }
  }
}

extension Role: CustomStringConvertible {
  package var description: String {
    switch self {
    case .follower: "StateFollower"
    case .candidate: "StateCandidate"
    case .leader: "StateLeader"
    case .preCandidate: "StatePreCandidate"
    }
  }
}

extension ProgressState: CustomStringConvertible {
  package var description: String {
    switch self {
    case .probe: "StateProbe"
    case .replicate: "StateReplicate"
    case .snapshot: "StateSnapshot"
    }
  }
}

extension VoteResult: CustomStringConvertible {
  package var description: String {
    switch self {
    case .pending: "VotePending"
    case .lost: "VoteLost"
    case .won: "VoteWon"
    }
  }
}

extension MemberSet: CustomStringConvertible {
  package var description: String { "(" + ids.map(String.init).joined(separator: " ") + ")" }
}

extension JointQuorum: CustomStringConvertible {
  package var description: String { isJoint ? "\(incoming)&&\(outgoing)" : "\(incoming)" }
}

extension MemberConfig: CustomStringConvertible {
  package var description: String {
    "voters=\(voters)" + (learners.isEmpty ? "" : " learners=\(learners)")
      + (learnersNext.isEmpty ? "" : " learners_next=\(learnersNext)") + (autoLeave ? " autoleave" : "")
  }
}

extension Progress: CustomStringConvertible {
  package var description: String {
    var text = "\(state) match=\(match) next=\(next)"
    if isLearner { text += " learner" }
    if isPaused { text += " paused" }
    if pendingSnapshot > 0 { text += " pendingSnap=\(pendingSnapshot)" }
    if !isRecentlyActive { text += " inactive" }
    if inflights.count > 0 { text += " inflight=\(inflights.count)" + (inflights.isFull ? "[full]" : "") }
    return text
  }
}

extension ProgressMap: CustomStringConvertible {
  /// A line for each member.
  package var description: String {
    ids.map { id in self[id].map { "\(id): \($0)\n" } ?? "" }.joined()
  }
}

extension ConfigChangeKind: CustomStringConvertible {
  package var description: String {
    switch self {
    case .addVoter: "ConfChangeAddNode"
    case .remove: "ConfChangeRemoveNode"
    case .update: "ConfChangeUpdateNode"
    case .addLearner: "ConfChangeAddLearnerNode"
    }
  }
}

extension ConfigTransition: CustomStringConvertible {
  package var description: String {
    switch self {
    case .auto: "ConfChangeTransitionAuto"
    case .jointImplicit: "ConfChangeTransitionJointImplicit"
    case .jointExplicit: "ConfChangeTransitionJointExplicit"
    }
  }
}
