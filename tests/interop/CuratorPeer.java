// The other side of the tests of interoperation: does with Curator what Gerrit's plugin does, one command per line.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.ACLProvider;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicValue;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.BoundedExponentialBackoffRetry;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.data.ACL;

public class CuratorPeer {
  private final CuratorFramework client;
  private InterProcessMutex held;

  private CuratorPeer(String server, String namespace, String user) {
    CuratorFrameworkFactory.Builder builder =
        CuratorFrameworkFactory.builder()
            .connectString(server)
            .retryPolicy(new BoundedExponentialBackoffRetry(100, 300, 3))
            .namespace(namespace);
    if (user != null) {
      builder.authorization("digest", user.getBytes()).aclProvider(new CreatorOnly());
    }
    client = builder.build();
    client.start();
  }

  public static void main(String[] args) throws Exception {
    CuratorPeer peer = new CuratorPeer(args[0], args[1], args.length > 2 ? args[2] : null);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String answer;
      try {
        answer = peer.run(line.split(" "));
      } catch (Exception e) {
        answer = "failed: " + e;
      }
      System.out.println(answer);
      System.out.flush();
    }
    // The test is over; locks go with the session.
    peer.client.close();
  }

  private String run(String[] words) throws Exception {
    String path = words.length > 1 ? words[1] : null;
    switch (words[0]) {
      case "get":
        try {
          return "=" + new String(client.getData().forPath(path));
        } catch (KeeperException.NoNodeException e) {
          return "absent";
        }
      case "exists":
        return String.valueOf(client.checkExists().forPath(path) != null);
      case "init":
        return String.valueOf(value(path).initialize(words[2].getBytes()));
      case "cas":
        AtomicValue<byte[]> result = value(path).compareAndSet(words[2].getBytes(), words[3].getBytes());
        return String.valueOf(result.succeeded());
      case "create":
        client.create().creatingParentContainersIfNeeded().forPath(path, words[2].getBytes());
        return "true";
      case "remove":
        client.delete().deletingChildrenIfNeeded().forPath(path);
        return "true";
      case "lock":
        InterProcessMutex mutex = new InterProcessMutex(client, path);
        boolean got = mutex.acquire(Long.parseLong(words[2]), TimeUnit.MILLISECONDS);
        if (got) {
          held = mutex;
        }
        return String.valueOf(got);
      case "unlock":
        held.release();
        return "true";
      default:
        return "failed: no command " + words[0];
    }
  }

  private DistributedAtomicValue value(String path) {
    return new DistributedAtomicValue(client, path, new BoundedExponentialBackoffRetry(100, 300, 3));
  }

  private static final class CreatorOnly implements ACLProvider {
    @Override
    public List<ACL> getDefaultAcl() {
      return ZooDefs.Ids.CREATOR_ALL_ACL;
    }

    @Override
    public List<ACL> getAclForPath(String path) {
      return Collections.unmodifiableList(ZooDefs.Ids.CREATOR_ALL_ACL);
    }
  }
}
