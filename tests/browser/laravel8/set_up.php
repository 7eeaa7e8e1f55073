<?php

// Makes the tables and alice, and notifies in a transaction that is rolled back; prints how many jobs
// there are in it and after it.

use App\Models\Order;
use App\Models\User;
use App\Notifications\OrderShipped;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Hash;
use Illuminate\Support\Facades\Schema;

$app = require __DIR__.'/bootstrap/laravel8.php';
$app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();

touch(database_path('orders.sqlite3'));
Schema::create('users', function ($table) {
    $table->id();
    $table->string('name')->unique();
    $table->string('password');
    $table->rememberToken();
});
Schema::create('personal_access_tokens', function ($table) {
    $table->id();
    $table->string('name');
    $table->integer('tokenable_id');
    $table->string('token')->unique();
});
Schema::create('orders', function ($table) {
    $table->id();
    $table->integer('buyer_id');
    $table->boolean('shipped');
});
Schema::create('jobs', function ($table) {
    $table->id();
    $table->string('queue')->index();
    $table->longText('payload');
    $table->tinyInteger('attempts')->unsigned();
    $table->integer('reserved_at')->unsigned()->nullable();
    $table->integer('available_at')->unsigned();
    $table->integer('created_at')->unsigned();
});

$alice = User::create(['name' => 'alice', 'password' => Hash::make('wonderland')]);
try {
    DB::transaction(function () use ($alice) {
        $order = Order::create(['buyer_id' => $alice->id, 'shipped' => true]);
        $alice->notify(new OrderShipped($order));
        echo DB::table('jobs')->count(), ' ';
        throw new LogicException;
    });
} catch (LogicException) {
    echo DB::table('jobs')->count();
}
