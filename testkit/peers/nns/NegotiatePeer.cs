// .NET's NegotiateStream as a peer, in both roles. Built and started by testkit/src/dotnet.rs.
//
//   NegotiatePeer client ADDRESS PORT SPN LEVEL [OPTION]...
//       Authenticates to the service SPN (CLASS/HOST), sends all of standard input and reads what comes back.
//       writes=N,N,...       sizes of the writes, taken in turn from the start again; 4096 if not given
//       end=half-close       sends its end after the last write and reads until the server ends (the default)
//       end=dispose          reads as many bytes as it sent, then closes
//       login=DOMAIN\USER:PASSWORD   instead of the default credential
//   NegotiatePeer server ADDRESS PORT LEVEL [CONNECTIONS]
//       Prints `listening on ADDRESS:PORT`, serves CONNECTIONS of them (1) one after the other, and gives back to each what
//       it sends, read by read.
//
// LEVEL is what it demands: encrypt, sign or none. Lines on standard output, for each connection: `authenticated`, then
// `mutual`, `encrypted`, `signed` (true or false) and `remote NAME`; at the end `received N`, which at the client is the last
// line and is followed by the N bytes themselves. After a failure: `failed STEP`, then for the exception and each one inside
// it `exception TYPE: MESSAGE`, and `native error N (0xN)` if it holds a number. The exit code is 1 if a client failed.
using System;
using System.ComponentModel;
using System.IO;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Principal;
using System.Threading;

static class NegotiatePeer
{
    static readonly Stream Output = Console.OpenStandardOutput();

    static int Main(string[] arguments)
    {
        if (arguments.Length >= 5 && arguments[0] == "client")
            return Client(arguments) ? 0 : 1;
        if (arguments.Length >= 4 && arguments[0] == "server")
        {
            Server(arguments);
            return 0;
        }
        Console.Error.WriteLine("the usage stands in NegotiatePeer.cs");
        return 2;
    }

    static bool Client(string[] arguments)
    {
        var address = IPAddress.Parse(arguments[1]);
        var port = int.Parse(arguments[2]);
        var credential = (NetworkCredential)CredentialCache.DefaultNetworkCredentials;
        var writes = new[] { 4096 };
        var halfClose = true;
        for (var i = 5; i < arguments.Length; i++)
        {
            var option = arguments[i].Split(new[] { '=' }, 2);
            if (option[0] == "writes")
                writes = Array.ConvertAll(option[1].Split(','), int.Parse);
            else if (option[0] == "end")
                halfClose = option[1] == "half-close";
            else if (option[0] == "login")
                credential = Login(option[1]);
            else
                throw new ArgumentException(arguments[i]);
        }
        var data = ReadAll(Console.OpenStandardInput());
        using (var tcp = new TcpClient())
        {
            tcp.Connect(address, port);
            var stream = new NegotiateStream(tcp.GetStream());
            return Attempt("handshake", () => stream.AuthenticateAsClient(
                    credential, arguments[3], Level(arguments[4]), TokenImpersonationLevel.Identification))
                && Attempt("description", () => Describe(stream))
                && Exchange(tcp, stream, data, writes, halfClose);
        }
    }

    // Writes and reads at once: a server that echoes would otherwise stop reading when nobody takes its answers.
    static bool Exchange(TcpClient tcp, NegotiateStream stream, byte[] data, int[] writes, bool halfClose)
    {
        var written = true;
        var writer = new Thread(() =>
        {
            written = Attempt("write", () =>
            {
                for (int at = 0, turn = 0; at < data.Length; turn++)
                {
                    var size = Math.Min(writes[turn % writes.Length], data.Length - at);
                    stream.Write(data, at, size);
                    at += size;
                }
                if (halfClose)
                    tcp.Client.Shutdown(SocketShutdown.Send);
            });
        });
        writer.Start();
        var received = new MemoryStream();
        var read = Attempt("read", () =>
        {
            var buffer = new byte[100000];
            int count;
            while ((halfClose || received.Length < data.Length) && (count = stream.Read(buffer, 0, buffer.Length)) > 0)
                received.Write(buffer, 0, count);
        });
        writer.Join();
        stream.Dispose();
        Line("received " + received.Length);
        received.WriteTo(Output);
        Output.Flush();
        return written && read;
    }

    static void Server(string[] arguments)
    {
        var listener = new TcpListener(IPAddress.Parse(arguments[1]), int.Parse(arguments[2]));
        listener.Start();
        Line("listening on " + listener.LocalEndpoint);
        var connections = arguments.Length > 4 ? int.Parse(arguments[4]) : 1;
        for (var i = 0; i < connections; i++)
        {
            using (var tcp = listener.AcceptTcpClient())
                Serve(tcp, Level(arguments[3]));
        }
        listener.Stop();
    }

    static void Serve(TcpClient tcp, ProtectionLevel level)
    {
        var stream = new NegotiateStream(tcp.GetStream());
        if (!Attempt("handshake", () => stream.AuthenticateAsServer(
                (NetworkCredential)CredentialCache.DefaultNetworkCredentials, level, TokenImpersonationLevel.Identification))
            || !Attempt("description", () => Describe(stream)))
        {
            AwaitEnd(tcp);
            return;
        }
        var received = 0L;
        Attempt("echo", () =>
        {
            var buffer = new byte[100000];
            int count;
            while ((count = stream.Read(buffer, 0, buffer.Length)) > 0)
            {
                received += count;
                stream.Write(buffer, 0, count);
            }
        });
        stream.Dispose();
        Line("received " + received);
    }

    // A socket that closes over unread bytes resets the connection, and the error record would not arrive.
    static void AwaitEnd(TcpClient tcp)
    {
        Attempt("end", () =>
        {
            var socket = tcp.Client;
            socket.Shutdown(SocketShutdown.Send);
            socket.ReceiveTimeout = 5000;
            while (socket.Receive(new byte[4096]) > 0) { }
        });
    }

    static void Describe(NegotiateStream stream)
    {
        Line("authenticated");
        Line("mutual " + Lower(stream.IsMutuallyAuthenticated));
        Line("encrypted " + Lower(stream.IsEncrypted));
        Line("signed " + Lower(stream.IsSigned));
        Line("remote " + stream.RemoteIdentity.Name);
    }

    static bool Attempt(string step, Action action)
    {
        try
        {
            action();
            return true;
        }
        catch (Exception error)
        {
            Line("failed " + step);
            for (; error != null; error = error.InnerException)
            {
                Line("exception " + error.GetType().FullName + ": " + error.Message.Replace('\n', ' ').Replace("\r", ""));
                var native = error as Win32Exception;
                if (native != null)
                    Line("native error " + native.NativeErrorCode + " (0x" + native.NativeErrorCode.ToString("x") + ")");
            }
            return false;
        }
    }

    static ProtectionLevel Level(string name)
    {
        switch (name)
        {
            case "encrypt": return ProtectionLevel.EncryptAndSign;
            case "sign": return ProtectionLevel.Sign;
            case "none": return ProtectionLevel.None;
            default: throw new ArgumentException(name);
        }
    }

    static NetworkCredential Login(string text)
    {
        var domain = text.IndexOf('\\');
        var password = text.IndexOf(':');
        return new NetworkCredential(
            text.Substring(domain + 1, password - domain - 1), text.Substring(password + 1), text.Substring(0, domain));
    }

    static byte[] ReadAll(Stream stream)
    {
        var all = new MemoryStream();
        stream.CopyTo(all);
        return all.ToArray();
    }

    static string Lower(bool value)
    {
        return value ? "true" : "false";
    }

    // Lines and raw bytes go the same way, so that they keep their order; two threads may both have something to say.
    static void Line(string text)
    {
        var bytes = System.Text.Encoding.UTF8.GetBytes(text + "\n");
        lock (Output)
        {
            Output.Write(bytes, 0, bytes.Length);
            Output.Flush();
        }
    }
}
